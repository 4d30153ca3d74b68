--[[
debounce_flush: what is pending for a key is due now; where nothing is, a run that is to be tried again. Safe to repeat, and allowed on
a full server. (Of functions, the callers of the window are told: their key is built from the shared tag.)

KEYS[1] state   HASH    the partition's clock, numbers and counts
KEYS[2] due     ZSET    encoded key -> when it is to be run (ms)
KEYS[3] window  HASH    of the key: what is pending, what runs

ARGV[1] member     the key, encoded
ARGV[2] channel    on which workers are told when something is due
ARGV[3] partition  its number
ARGV[4] functions  1 where callers hold the functions, else 0

Returns the window's id and the number of its calls, as text; or "" where nothing was pending.
]]
-- @include open_partition
-- @include save_partition
-- @include tell_next
local due, window = KEYS[2], KEYS[3]
local member = ARGV[1]
local terms = { channel = ARGV[2], partition = ARGV[3], keep = ARGV[4] == '1' }

local known = redis.call('HMGET', window, 'window', 'calls', 'due', 'run', 'run_calls', 'run_state')
local id, calls = known[1], known[2]
if not id and known[4] and known[6] ~= 'running' then
  id, calls = known[4], known[5]
end
if not id then
  return ''
end
local part = open_partition(KEYS[1])
redis.call('ZREM', due, ' ') -- what no member is: allowed on a full server, and then so is the rest
save_partition(part)
local at = part.now
if known[1] then
  at = math.min(at, known[3])
  redis.call('HSET', window, 'due', at)
end
if not (known[4] and known[1]) then
  redis.call('ZADD', due, at, member) -- else it is next when the run is over
  tell_next(part, due, member, id, terms)
end
return string.format('%s %s', id, calls)
