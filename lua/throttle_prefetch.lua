--[[
throttle_prefetch: take a share ahead, of `least` to `cost`, that is used within `ahead` ms from now. It counts as used at the
end of that time, so that no window is ever too short, whenever in it the share is used. Never waits. Safe to repeat.

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
ARGV[3] id         of the share, ending in ".share"
ARGV[4] cost       wanted at most
ARGV[5] least      cost to be content with
ARGV[6] ahead      ms
ARGV[7] weight     not used, as the next two are not: throttle_undo takes the arguments of this and of throttle_acquire alike
ARGV[8] priority   not used
ARGV[9] queue      not used
ARGV[10] burst      as throttle_acquire
ARGV[11] cooldown   ms
ARGV[12] slots      that leases share, 0 for no leases
ARGV[13] lease      ms that a lease lives unless it is renewed
ARGV[14] version    of what the fleet was told that the caller knows; "-" and ms of a pause where it is in another slot
ARGV[15] config     of the caller as text: a waiter is judged by its own
ARGV[16] periods    of the logs, rising, with spaces
ARGV[17..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the line of numbers that include/describe.lua explains, its time being the end of the share; or "solo" where there are
leases, priorities or a line; or "register <periods>", "update <version> <fields>" or "stale" as throttle_acquire does.
]]
-- @include recall
-- @include read_limiter
-- @include remember
-- @include save_limiter
-- @include start_cursors
-- @include try_place
-- @include free_cost
-- @include take_place
-- @include count_waiting
-- @include describe
local lane, number = ARGV[1], tonumber(ARGV[2])
local cost, least, ahead = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local known = recall(lane, number)
if known then
  return known
end
local limiter = read_limiter(10)
if limiter.elsewhere then
  return limiter.elsewhere
end
if limiter.dirty then
  save_limiter(limiter)
end
local now = limiter.now
if limiter.slots > 0 or limiter.lined or limiter.ranked > now then
  return 'solo'
end
start_cursors(limiter)
local time, reason = try_place(limiter, least, now)
if time > now then
  return remember(limiter, lane, number, describe(limiter, 0, time, 0, time - now, count_waiting(limiter), reason or 0), true)
end
cost = free_cost(limiter, cost, least)
-- A full server refuses this first write: then nothing has been written.
redis.call('HSET', limiter.state, 'seen', now + 1)
local last = limiter.last
take_place(limiter, { cost = cost, weight = 0 }, now + ahead)
limiter.last = last -- it is no place in the line: whoever comes may be served before
save_limiter(limiter, now + ahead)
return remember(limiter, lane, number, describe(limiter, 1, now + ahead, cost, 0, 0, 0), true)
