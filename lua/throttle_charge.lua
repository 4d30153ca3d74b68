--[[
throttle_charge: log `cost` that has been used already, whatever the limits say: the estimate was too low. What is above a
limit delays whoever comes next. Safe to repeat.

KEYS[1] lane     STRING  number and reply of the lane's latest charge
KEYS[2] state    HASH    the limiter's clock and sums
KEYS[3] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[4] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[5..] log    LIST    of one period, newest first: "time:cost", the time (ms) is the end of the slot of use

ARGV[1] number     of this call in its lane, rising
ARGV[2] lane_ttl   ms, how long the lane is remembered
ARGV[3] cost       to log
ARGV[4] burst      as throttle_acquire
ARGV[5] cooldown   ms
ARGV[6] periods    of the logs, in order, with spaces
ARGV[7..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the cost that was logged; or "register <periods>" or "stale" as throttle_acquire does.
]]
-- @include recall
-- @include remember
-- @include read_limiter
-- @include log_use
-- @include save_limiter
local lane, number, lane_ttl, cost = KEYS[1], tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local known = recall(lane, number)
if known then
  return known
end
local limiter = read_limiter(2, 4)
if limiter.unregistered then
  return 'register ' .. limiter.unregistered
end
for _, log in ipairs(limiter.logs) do
  log_use(log, limiter.now + 1, cost)
end
save_limiter(limiter, limiter.now + 1)
return remember(lane, number, lane_ttl, tostring(cost))
