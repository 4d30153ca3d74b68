--[[
throttle_reset: forget all that a limiter has granted. Lanes stay, so that a call repeated across a reset still charges once.

KEYS[1] state    HASH    the limiter's clock and sums
KEYS[2] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[3] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[4..] log    LIST    of one period, newest first: "time:cost", the time (ms) is the end of the slot of use

ARGV[1] periods    of the logs, in order, with spaces

Returns how many keys were deleted; or "register <periods>" as throttle_acquire does.
]]
local registered = redis.call('HGET', KEYS[1], 'periods')
if registered and registered ~= ARGV[1] then
  return 'register ' .. registered
end
return redis.call('DEL', unpack(KEYS)) -- a config has at most 17 periods
