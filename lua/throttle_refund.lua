--[[
throttle_refund: give back `cost` of a permit: of its use when its time has come, else its place in the line.
Safe to repeat. Never lifts a balance above its limit: no more comes back than the logs hold of that time.

KEYS[1] state    HASH    the limiter's clock, sums and lanes
KEYS[2] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[3] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[4..] log    LIST    closed slots of one period, newest first: "time:cost", the time (ms) is the end of the slot

ARGV[1] lane       of the caller
ARGV[2] number     of this call in its lane, rising
ARGV[3] id         of the permit
ARGV[4] time       of the permit (ms)
ARGV[5] asked      when it was asked for (ms): its time, less what it waited
ARGV[6] cost       to give back
ARGV[7] burst      as throttle_acquire
ARGV[8] cooldown   ms
ARGV[9] periods    of the logs, rising, with spaces
ARGV[10..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the cost that came back, 0 when all limits have forgotten the use; or "register <periods>" or "stale" as
throttle_acquire does.
]]
-- @include recall
-- @include read_limiter
-- @include remember
-- @include give_back
-- @include save_limiter
local lane, number, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local time, asked, cost = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local known = recall(lane, number)
if known then
  return known
end
local limiter = read_limiter(7)
if limiter.unregistered then
  return 'register ' .. limiter.unregistered
end
local returned = give_back(limiter, id, time, asked, cost)
save_limiter(limiter)
return remember(limiter, lane, number, tostring(returned))
