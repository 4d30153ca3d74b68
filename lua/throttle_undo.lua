--[[
throttle_undo: take back call `number` of a lane whose reply its caller will never read, because it was cancelled on the
way. What the call was granted comes back; a call that has not arrived yet will find its number used and do nothing.

KEYS[1] lane     STRING  number and reply of the lane's latest charge
KEYS[2] state    HASH    the limiter's clock and sums
KEYS[3] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[4] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[5..] log    LIST    of one period, newest first: "time:cost", the time (ms) is the end of the slot of use

ARGV[1] number     of the call
ARGV[2] lane_ttl   ms, how long the lane is remembered
ARGV[3] id         of the permit
ARGV[4] cost       of the call, not used: the remembered reply says what was granted
ARGV[5] least      not used
ARGV[6] patience   not used
ARGV[7] burst      as throttle_acquire, whose arguments these are
ARGV[8] cooldown   ms
ARGV[9] periods    of the logs, in order, with spaces
ARGV[10..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the cost that came back, 0 when the call had been refused or had not arrived.
]]
-- @include recall
-- @include remember
-- @include read_limiter
-- @include give_back
local lane, number, lane_ttl, id = KEYS[1], tonumber(ARGV[1]), ARGV[2], ARGV[3]

local known = recall(lane, number)
if known == 'stale' then
  return 0
end
remember(lane, number, lane_ttl, 'undone')
local time, cost = string.match(known or '', '^1 (%d+) %d+ %d+ %-?%d+ (%d+) ')
if not time then
  return 0
end
local limiter = read_limiter(2, 7)
if limiter.unregistered then
  return 0
end
return give_back(limiter, id, tonumber(time), tonumber(cost))
