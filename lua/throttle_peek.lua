--[[
throttle_peek: what a call of `cost` would be told now, and what an operator wants to know. Charges nothing.

KEYS[1] state    HASH    the limiter's clock and sums
KEYS[2] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[3] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[4..] log    LIST    of one period, newest first: "time:cost", the time (ms) is the end of the slot of use

ARGV[1] cost       asked about
ARGV[2] burst      as throttle_acquire
ARGV[3] cooldown   ms
ARGV[4] periods    of the logs, in order, with spaces
ARGV[5..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the line of numbers that include/describe.lua explains, its cost being what was granted in the last second (in the
last period, times 1000 / period, where every period is shorter); or "register <periods>" as throttle_acquire does.
]]
-- @include read_limiter
-- @include find_place
-- @include describe
-- @include granted_last_second
local cost = tonumber(ARGV[1])
local limiter = read_limiter(1, 2)
if limiter.unregistered then
  return 'register ' .. limiter.unregistered
end

local per_second = granted_last_second(limiter)
local queue = 0
if limiter.line then
  queue = redis.call('ZCOUNT', limiter.waiting, '(' .. limiter.now, '+inf')
end
local time, reason = find_place(limiter, cost)
local wait = time - limiter.now
return describe(limiter, wait == 0 and 1 or 0, time, wait, queue, reason or 0, per_second)
