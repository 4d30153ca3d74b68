--[[
throttle_undo: take back call `number` of a lane, whose reply its caller will never read because it was interrupted. What
the call was granted comes back; a call that has not arrived yet will find its number used and do nothing.

KEYS[1] state    HASH    the limiter's clock, sums and lanes
KEYS[2] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[3] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[4] control  HASH    what the fleet was told: another config, a pause
KEYS[5] line     ZSET    permit id -> rank, of those who wait for a lease or by priority
KEYS[6] leases   ZSET    permit id -> when its lease ends (ms)
KEYS[7] tickets  HASH    permit id -> what read_ticket reads; alive:<process> -> when it was heard of (ms)
KEYS[8..] log    LIST    closed slots of one period, newest first: "time:cost", the time (ms) is the end of the slot

ARGV[1] lane       of the caller
ARGV[2] number     of the call
ARGV[3] id         of the permit
ARGV[4] cost       as throttle_acquire, whose arguments these are; the remembered reply says what was granted
ARGV[5] least      as throttle_acquire
ARGV[6] patience   as throttle_acquire
ARGV[7] weight     as throttle_acquire
ARGV[8] priority   as throttle_acquire
ARGV[9] queue      as throttle_acquire
ARGV[10] burst      as throttle_acquire
ARGV[11] cooldown   ms
ARGV[12] slots      that leases share, 0 for no leases
ARGV[13] lease      ms that a lease lives unless it is renewed
ARGV[14] version    of what the fleet was told that the caller knows; "-" and ms of a pause where it is in another slot
ARGV[15] config     of the caller as text: a waiter is judged by its own
ARGV[16] periods    of the logs, rising, with spaces
ARGV[17..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the cost that came back, 0 when the call had been refused or had not arrived.
]]
-- @include recall
-- @include read_limiter
-- @include remember
-- @include give_back
-- @include read_ticket
-- @include leave
-- @include start_cursors
-- @include serve_line
-- @include end_turn
-- @include save_limiter
local lane, number, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local known = recall(lane, number)
if known == 'stale' then
  return 0
end
local limiter = read_limiter(10, true)
if limiter.elsewhere then
  return 0 -- the state is gone, and the grant with it
end
local returned = 0
local ticket = read_ticket(limiter, id)
if ticket then
  leave(limiter, ticket, true)
  if not limiter.partial then
    start_cursors(limiter)
    serve_line(limiter)
  end
  end_turn(limiter, id)
  remember(limiter, lane, number, 'undone')
  return ticket.cost
end
local time, cost = string.match(known or '', '^1 (%d+) (%d+)')
if time then
  returned = give_back(limiter, id, tonumber(time), limiter.now + 1, tonumber(cost)) -- a reset forgets its lane
end
save_limiter(limiter)
remember(limiter, lane, number, 'undone')
return returned
