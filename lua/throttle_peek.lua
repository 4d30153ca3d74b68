--[[
throttle_peek: what a call of `cost` would be told now, and what an operator wants to know. Charges nothing;
what it may write is what the next call would: that the clock was set back, that a place given up is overdue.

KEYS[1] state    HASH    the limiter's clock, sums and lanes
KEYS[2] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[3] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[4..] log    LIST    closed slots of one period, newest first: "time:cost", the time (ms) is the end of the slot

ARGV[1] cost       asked about
ARGV[2] burst      as throttle_acquire
ARGV[3] cooldown   ms
ARGV[4] periods    of the logs, rising, with spaces
ARGV[5..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the line of numbers that include/describe.lua explains, its cost being what was granted in the last second (where
all periods are shorter: in the longest of them, scaled); or "register <periods>" as throttle_acquire does.
]]
-- @include read_limiter
-- @include save_limiter
-- @include granted_last_second
-- @include start_cursors
-- @include find_place
-- @include count_waiting
-- @include describe
local limiter = read_limiter(2)
if limiter.unregistered then
  return 'register ' .. limiter.unregistered
end
if limiter.dirty then
  save_limiter(limiter)
end
local per_second = granted_last_second(limiter)
start_cursors(limiter)
local time, reason = find_place(limiter, tonumber(ARGV[1]))
local wait = time - limiter.now
return describe(limiter, 0, time, per_second, wait, count_waiting(limiter), reason or 0)
