--[[
throttle_reset: forget all that a limiter has granted, its places in the line and its lanes with it.

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
local registered = redis.call('HGET', KEYS[1], 'periods')
if registered and registered ~= ARGV[3] then
  return 'register ' .. registered
end
return redis.call('DEL', unpack(KEYS)) -- a config has at most 17 logs
