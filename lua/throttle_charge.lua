--[[
throttle_charge: log `cost` that has been used already, whatever the limits say: the estimate was too low. What is above a
limit delays whoever comes next; what completes a burst starts its cooldown. Safe to repeat.

KEYS[1] state    HASH    the limiter's clock, sums and lanes
KEYS[2] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[3] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[4] control  HASH    what the fleet was told: another config, a pause
KEYS[5] line     ZSET    permit id -> rank, of those who wait for a lease or by priority
KEYS[6] leases   ZSET    permit id -> when its lease ends (ms)
KEYS[7] tickets  HASH    permit id -> what read_ticket reads; alive:<process> -> when it was heard of (ms)
KEYS[8..] log    LIST    closed slots of one period, newest first: "time:cost", the time (ms) is the end of the slot

ARGV[1] lane       of the caller
ARGV[2] number     of this call in its lane, rising
ARGV[3] cost       to log
ARGV[4] burst      as throttle_acquire
ARGV[5] cooldown   ms
ARGV[6] slots      that leases share, 0 for no leases
ARGV[7] lease      ms that a lease lives unless it is renewed
ARGV[8] version    of what the fleet was told that the caller knows; "-" and ms of a pause where it is in another slot
ARGV[9] config     of the caller as text: a waiter is judged by its own
ARGV[10] periods    of the logs, rising, with spaces
ARGV[11..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the cost that was logged; or "register <periods>", "update <version> <fields>" or "stale" as
throttle_acquire does.
]]
-- @include recall
-- @include read_limiter
-- @include remember
-- @include start_cursor
-- @include cost_between
-- @include insert_use
-- @include log_use
-- @include start_cooldown
-- @include save_limiter
local lane, number, cost = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local known = recall(lane, number)
if known then
  return known
end
local limiter = read_limiter(4)
if limiter.elsewhere then
  return limiter.elsewhere
end
local time = limiter.now + 1
for _, log in ipairs(limiter.logs) do
  if log.newest > time + log.precision then
    insert_use(log, time, cost, limiter.last) -- callers wait: what they were promised stands behind it
  else
    start_cursor(log, limiter.now)
    log_use(log, time, cost)
  end
  if limiter.burst > 0 and log.period == 1000 and cost_between(log, time - 1000, time) >= limiter.burst then
    start_cooldown(limiter, time)
  end
end
save_limiter(limiter, time)
return remember(limiter, lane, number, tostring(cost))
