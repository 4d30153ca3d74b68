--[[
debounce_agree: a process says how it divides and runs the keys of a debouncer, and learns how others do. Safe to repeat, and allowed
on a full server.

KEYS[1] terms   HASH    partitions, options (as text), and when a process last said so (ms)

ARGV[1] partitions  that the keys are spread over here
ARGV[2] options     as text
ARGV[3] instead     the number of partitions, other than these, in which nothing is left; 0 for none. Ours take their place once no process
                    lives that said so
ARGV[4] yields      1 where other options of a process that lives stay as they are, 0 where ours take their place
ARGV[5] ttl         ms that this is kept, longer than any wait
ARGV[6] lives       ms after which a process that said nothing is no more

Returns the partitions and the options of another process, each "" where they do not differ from ours. With other partitions nothing
was changed.
]]
-- @include server_ms
local terms, partitions, options, instead = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local yields, ttl, lives = ARGV[4] == '1', ARGV[5], tonumber(ARGV[6])

local now = server_ms()
local known = redis.call('HMGET', terms, 'partitions', 'options', 'at')
local is_live = known[3] and math.max(now - known[3], known[3] - now) < lives
if known[1] and known[1] ~= partitions and (is_live or known[1] ~= instead) then
  return { known[1], known[2] or '' } -- one that lives goes on calling: what it calls then would not be found
end
local other = ''
if known[2] and known[2] ~= options and is_live then
  other = known[2]
end
if other == '' or not yields then
  redis.call('HDEL', terms, ' ') -- what no field is: allowed on a full server, and then so is the rest
  redis.call('HSET', terms, 'partitions', partitions, 'options', options, 'at', now)
  redis.call('PEXPIRE', terms, ttl)
end
return { '', other }
