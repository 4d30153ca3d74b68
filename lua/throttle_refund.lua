--[[
throttle_refund: give back `cost` of a permit: of its use when its time has come, else its place in the line.
Safe to repeat. Never lifts a balance above its limit: no more comes back than the logs hold of that time.

KEYS[1] lane     STRING  number and reply of the lane's latest charge
KEYS[2] state    HASH    the limiter's clock and sums
KEYS[3] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[4] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[5..] log    LIST    of one period, newest first: "time:cost", the time (ms) is the end of the slot of use

ARGV[1] number     of this call in its lane, rising
ARGV[2] lane_ttl   ms, how long the lane is remembered
ARGV[3] id         of the permit
ARGV[4] time       of the permit (ms)
ARGV[5] cost       to give back
ARGV[6] burst      as throttle_acquire
ARGV[7] cooldown   ms
ARGV[8] periods    of the logs, in order, with spaces
ARGV[9..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the cost that came back, 0 when all limits have forgotten the use; or "register <periods>" or "stale" as
throttle_acquire does.
]]
-- @include recall
-- @include remember
-- @include read_limiter
-- @include give_back
local lane, number, lane_ttl = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local id, time, cost = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])

local known = recall(lane, number)
if known then
  return known
end
local limiter = read_limiter(2, 6)
if limiter.unregistered then
  return 'register ' .. limiter.unregistered
end
return remember(lane, number, lane_ttl, tostring(give_back(limiter, id, time, cost)))
