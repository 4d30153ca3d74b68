--[[
throttle_release: a permit is done with: its lease ends, or its place in the line. Whoever waits is served. Safe to repeat,
and allowed on a full server.

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
ARGV[4] back       1 to give its cost back to the limits as well, since it was not used, else 0
ARGV[5] burst      as throttle_acquire
ARGV[6] cooldown   ms
ARGV[7] slots      that leases share, 0 for no leases
ARGV[8] lease      ms that a lease lives unless it is renewed
ARGV[9] version    of what the fleet was told that the caller knows; "-" and ms of a pause where it is in another slot
ARGV[10] config     of the caller as text: a waiter is judged by its own
ARGV[11] periods    of the logs, rising, with spaces
ARGV[12..] period (ms), precision (ms), limit (-1: log only) of each log

Returns 1, or 0 when the permit held nothing: its lease had ended, and frees nobody else's; or "register <periods>",
"update <version> <fields>" or "stale" as throttle_acquire does.
]]
-- @include plain_release
local plain = plain_release()
if plain then
  return plain
end

-- @include recall
-- @include remember
-- @include read_limiter
-- @include reap_leases
-- @include start_cursors
-- @include serve_line
-- @include leave
-- @include end_turn
local lane, number, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local known = recall(lane, number)
if known then
  return known
end
local limiter = read_limiter(5)
if limiter.elsewhere then
  return limiter.elsewhere
end
redis.call('ZREM', limiter.line, id) -- allowed on a full server, and then so is the rest
reap_leases(limiter)
local ticket = read_ticket(limiter, id)
if ticket then
  leave(limiter, ticket, ARGV[4] == '1')
end
start_cursors(limiter)
serve_line(limiter)
end_turn(limiter, id)
return remember(limiter, lane, number, ticket and '1' or '0')
