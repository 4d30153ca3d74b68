--[[
debounce_result: what became of a window. While it is not over, the asking process is woken when it is. Changes nothing else.

KEYS[1] state    HASH    the partition's clock, numbers and counts
KEYS[2] window   HASH    of the key: what is pending, what runs
KEYS[3] done     HASH    the window's outcome
KEYS[4] waiters  SET     processes that wait for it

ARGV[1] id       of the window
ARGV[2] process  that asks

Returns "done", "failed" or "cancelled", then value, error, calls, edge, attempts and by whom; or "pending" and ms until it is due,
or "running"; or "unknown".
]]
-- @include open_partition
local window, done, waiters = KEYS[2], KEYS[3], KEYS[4]
local id, process = ARGV[1], ARGV[2]

local outcome = redis.call('HMGET', done, 'status', 'value', 'error', 'calls', 'edge', 'attempts', 'by')
if outcome[1] then
  return outcome
end
local known = redis.call('HMGET', window, 'window', 'due', 'run')
if known[1] ~= id and known[3] ~= id then
  return { 'unknown' }
end
redis.call('HDEL', window, ' ') -- what no field is: allowed on a full server, and then so is the rest
redis.call('SADD', waiters, process)
redis.call('PEXPIRE', waiters, 5000) -- who waits asks at least once a second
if known[3] == id then
  return { 'running' }
end
return { 'pending', math.max(0, known[2] - open_partition(KEYS[1]).now) }
