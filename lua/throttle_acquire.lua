--[[
throttle_acquire: take `cost` from every limit of a limiter at once: now, or at the earliest time within `patience`.
Refused by one, charged by none. Safe to repeat: a number that this lane has used already gets the reply it got.

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
ARGV[3] id         of the permit
ARGV[4] cost       wanted, at most every limit
ARGV[5] least      cost to be content with when it must be now; `cost` for all or nothing
ARGV[6] patience   ms the caller would wait; 0 now or not at all, -1 for ever
ARGV[7] weight     slots of its lease
ARGV[8] priority   -1000 to 1000: higher goes first
ARGV[9] queue      as many callers may wait, -1 for any number
ARGV[10] burst      cost within one second that starts a cooldown, 0 for none; then one log has period 1000
ARGV[11] cooldown   ms
ARGV[12] slots      that leases share, 0 for no leases
ARGV[13] lease      ms that a lease lives unless it is renewed
ARGV[14] version    of what the fleet was told that the caller knows; "-" and ms of a pause where it is in another slot
ARGV[15] config     of the caller as text: a waiter is judged by its own
ARGV[16] periods    of the logs, rising, with spaces
ARGV[17..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the line of numbers that include/describe.lua explains, of a limiter with leases or priorities describe_turn.lua;
or "register <periods>" when other periods are on record (call throttle_register, then again); or "update <version> <fields>"
when the fleet was told another config (take it, then again); or "stale" for a number below the lane's latest. Refusals are remembered as well: a copy
of a refused call that strays and arrives when there is room must not be charged.
]]
-- @include plain_grant
local plain = plain_grant()
if plain then
  return plain
end

-- @include recall
-- @include read_limiter
-- @include remember
-- @include save_limiter
-- @include start_cursors
-- @include free_cost
-- @include find_place
-- @include take_hole
-- @include note_wait
-- @include count_waiting
-- @include take_turn
-- @include log_grant
-- @include describe
local lane, number, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local cost, least, patience = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local weight, priority, queue = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

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
local now, logs = limiter.now, limiter.logs
for _, log in ipairs(logs) do
  if log.limit >= 0 and cost > log.limit then
    return redis.error_reply('ERR cost ' .. ARGV[4] .. ' is above a limit of the config that it came with')
  end
end

-- Leases are free when somebody releases them, and priorities go first: no place can be given ahead.
if limiter.slots > 0 or limiter.lined or priority ~= 0 or (limiter.ranked > now and patience ~= 0) then
  local ticket = { id = id, cost = cost, weight = weight, rank = '0', since = now, time = 0, fence = 0, config = limiter.config }
  return remember(limiter, lane, number, take_turn(limiter, ticket, least, patience, priority, queue), true)
end

-- Somebody gave up a place.
local taken = limiter.busy and take_hole(limiter, cost, patience)
start_cursors(limiter)
if taken then
  save_limiter(limiter, taken + 1)
  if taken == now then
    return remember(limiter, lane, number, describe(limiter, 1, now + 1, cost, 0, count_waiting(limiter), 0), true)
  end
  local callers = note_wait(limiter, id, taken)
  return remember(limiter, lane, number, describe(limiter, 1, taken, cost, taken - now, callers, 0), true)
end

-- Content with less: take what there is.
if least < cost then
  cost = free_cost(limiter, cost, least)
end

local time, reason = find_place(limiter, cost)
local wait = time - now
if patience >= 0 and wait > patience then
  return remember(limiter, lane, number, describe(limiter, 0, time, 0, wait, count_waiting(limiter), reason), true)
end

-- Granted. A use now is logged at the next whole millisecond, since `now` was rounded down.
local callers = 0
if wait == 0 then
  time = now + 1
elseif queue >= 0 and count_waiting(limiter) >= queue then
  return remember(limiter, lane, number, describe(limiter, 0, time, 0, wait, count_waiting(limiter), -4), true)
end
for _, log in ipairs(logs) do
  log_grant(limiter, log, time, cost)
end
if wait > 0 then
  limiter.last = time
  callers = note_wait(limiter, id, time)
end
save_limiter(limiter, time)
return remember(limiter, lane, number, describe(limiter, 1, time, cost, wait, callers, reason or 0), true)
