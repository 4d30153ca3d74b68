--[[
throttle_reset: forget all that a limiter has granted, its places in the line and its lanes with it. What stays, for
a second, is from when on a permit can be given back.

KEYS[1] state    HASH    the limiter's clock, sums and lanes
KEYS[2] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[3] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[4..] log    LIST    closed slots of one period, newest first: "time:cost", the time (ms) is the end of the slot

ARGV[1] burst      as throttle_acquire
ARGV[2] cooldown   ms
ARGV[3] periods    of the logs, rising, with spaces
ARGV[4..] period (ms), precision (ms), limit (-1: log only) of each log

Returns how many keys were deleted; or "register <periods>" as throttle_acquire does.
]]
local state = redis.pcall('HMGET', KEYS[1], 'periods', 'seen', 'offset') -- a key that is not ours goes with the rest
if state[1] and state[1] ~= ARGV[3] then
  return 'register ' .. state[1]
end
local deleted = redis.call('DEL', unpack(KEYS)) -- a config has at most 17 logs
if state[2] then
  -- Of what was granted before nothing can be given back to what is granted from now on, even within this millisecond.
  local from = state[2] + 1
  redis.call('HSET', KEYS[1], 'seen', from, 'offset', state[3], 'since', from)
  redis.call('PEXPIRE', KEYS[1], 1000)
end
return deleted
