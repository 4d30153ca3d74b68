--[[
throttle_refund: give back `cost` of a permit: of its use when its time has come, else its place in the line.
Safe to repeat. Never lifts a balance above its limit: no more comes back than the logs hold of that time.

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
ARGV[4] time       of the permit (ms)
ARGV[5] asked      when it was asked for (ms): its time, less what it waited
ARGV[6] cost       to give back
ARGV[7] burst      as throttle_acquire
ARGV[8] cooldown   ms
ARGV[9] slots      that leases share, 0 for no leases
ARGV[10] lease      ms that a lease lives unless it is renewed
ARGV[11] version    of what the fleet was told that the caller knows; "-" and ms of a pause where it is in another slot
ARGV[12] config     of the caller as text: a waiter is judged by its own
ARGV[13] periods    of the logs, rising, with spaces
ARGV[14..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the cost that came back, 0 when all limits have forgotten the use; or "register <periods>", "update <version> <fields>" or
"stale" as throttle_acquire does.
]]
-- @include recall
-- @include read_limiter
-- @include remember
-- @include give_back
-- @include save_limiter
-- @include start_cursors
-- @include serve_line
-- @include end_turn
local lane, number, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local time, asked, cost = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local known = recall(lane, number)
if known then
  return known
end
local limiter = read_limiter(7)
if limiter.elsewhere then
  return limiter.elsewhere
end
local returned = give_back(limiter, id, time, asked, cost)
if limiter.lined then
  start_cursors(limiter)
  serve_line(limiter)
  end_turn(limiter, id)
else
  save_limiter(limiter)
end
return remember(limiter, lane, number, tostring(returned))
