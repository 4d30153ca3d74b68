--[[
throttle_peek: what a call of `cost` would be told now, and what an operator wants to know. Charges nothing;
what it may write is what the next call would: that the clock was set back, that a place given up is overdue.

KEYS[1] state    HASH    the limiter's clock, sums and lanes
KEYS[2] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[3] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[4] control  HASH    what the fleet was told: another config, a pause
KEYS[5] line     ZSET    permit id -> rank, of those who wait for a lease or by priority
KEYS[6] leases   ZSET    permit id -> when its lease ends (ms)
KEYS[7] tickets  HASH    permit id -> what read_ticket reads; alive:<process> -> when it was heard of (ms)
KEYS[8..] log    LIST    closed slots of one period, newest first: "time:cost", the time (ms) is the end of the slot

ARGV[1] cost       asked about
ARGV[2] burst      as throttle_acquire
ARGV[3] cooldown   ms
ARGV[4] slots      that leases share, 0 for no leases
ARGV[5] lease      ms that a lease lives unless it is renewed
ARGV[6] version    of what the fleet was told that the caller knows; "-" and ms of a pause where it is in another slot
ARGV[7] config     of the caller as text: a waiter is judged by its own
ARGV[8] periods    of the logs, rising, with spaces
ARGV[9..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the line of numbers that include/describe.lua explains, of a limiter with leases or a line describe_turn.lua, its cost
being what was granted in the last second (where all periods are shorter: in the longest of them, scaled); or "register
<periods>" or "update <version> <fields>" as throttle_acquire does.
]]
-- @include read_limiter
-- @include save_limiter
-- @include keep_line
-- @include granted_last_second
-- @include start_cursors
-- @include find_place
-- @include count_waiting
-- @include describe
-- @include reap_leases
-- @include may_go
-- @include describe_turn
local limiter = read_limiter(2)
if limiter.elsewhere then
  return limiter.elsewhere
end
local takes_turns = limiter.slots > 0 or limiter.lined
if takes_turns then
  reap_leases(limiter)
end
if limiter.dirty then
  save_limiter(limiter)
  keep_line(limiter)
end
local per_second = granted_last_second(limiter)
start_cursors(limiter)
if takes_turns then
  local time, wait, reason = may_go(limiter, tonumber(ARGV[1]), 1, 20)
  if redis.call('EXISTS', limiter.line) == 1 then
    wait, reason = math.max(1, wait or time - limiter.now), 0
  end
  local ticket = { cost = per_second, time = 0, fence = 0, since = limiter.now }
  return describe_turn(limiter, 0, ticket, wait or time - limiter.now, reason or 0)
end
local time, reason = find_place(limiter, tonumber(ARGV[1]))
local wait = time - limiter.now
return describe(limiter, 0, time, per_second, wait, count_waiting(limiter), reason or 0)
