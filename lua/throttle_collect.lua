--[[
throttle_collect: come for what a permit in the line was granted, or ask how it stands. Serves the line on the way. Safe to repeat.

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
ARGV[4] leave      1 to leave the line unless it is granted now, else 0
ARGV[5] burst      as throttle_acquire
ARGV[6] cooldown   ms
ARGV[7] slots      that leases share, 0 for no leases
ARGV[8] lease      ms that a lease lives unless it is renewed
ARGV[9] version    of what the fleet was told that the caller knows; "-" and ms of a pause where it is in another slot
ARGV[10] config     of the caller as text: a waiter is judged by its own
ARGV[11] periods    of the logs, rising, with spaces
ARGV[12..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the line of numbers that include/describe_turn.lua explains, granted being 2 for who waits on, 0 for who has left; or
"gone" for a permit that is not known any more, since the limiter was reset or its process was silent for too long; or
"register <periods>", "update <version> <fields>" or "stale" as throttle_acquire does.
]]
-- @include recall
-- @include remember
-- @include read_limiter
-- @include reap_leases
-- @include start_cursors
-- @include serve_line
-- @include note_process
-- @include hold
-- @include leave
-- @include head_of_line
-- @include describe_turn
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
reap_leases(limiter)
local ticket = read_ticket(limiter, id)
if ticket and (ticket.state == 'silent' or ticket.state == 'called' or ticket.config ~= limiter.config) then
  -- Its process is heard of again, or it was called to ask, or the fleet was told another config since.
  redis.call('ZREM', limiter.leases, id)
  redis.call('ZADD', limiter.line, ticket.rank, id)
  ticket.config = limiter.config
  write_ticket(limiter, ticket, 'waiting')
end
if ticket then
  note_process(limiter, id)
end
start_cursors(limiter)
serve_line(limiter)

ticket = read_ticket(limiter, id)
local reply = 'gone'
if ticket and ticket.state == 'granted' then
  hold(limiter, ticket)
  reply = describe_turn(limiter, 1, ticket, math.max(0, ticket.time - limiter.now), 0)
elseif ticket and ticket.state == 'held' then
  reply = describe_turn(limiter, 1, ticket, math.max(0, ticket.time - limiter.now), 0)
elseif ticket then
  local blocked = limiter.blocked or { wait = 1, reason = 0 }
  local is_head = head_of_line(limiter) == id
  local reason = is_head and blocked.reason or 0
  if ARGV[4] == '1' then
    leave(limiter, ticket)
    serve_line(limiter)
    reply = describe_turn(limiter, 0, ticket, blocked.wait, reason)
  else
    reply = describe_turn(limiter, 2, ticket, is_head and math.max(1, blocked.wait) or 0, reason)
  end
end
end_turn(limiter, id)
return remember(limiter, lane, number, reply)
