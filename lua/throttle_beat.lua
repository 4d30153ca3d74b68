--[[
throttle_beat: a process shows that it lives: its leases are renewed, its places in the line are kept. Serves the line on the
way. Safe to repeat, and allowed on a full server.

KEYS[1] state    HASH    the limiter's clock, sums and lanes
KEYS[2] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[3] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[4] control  HASH    what the fleet was told: another config, a pause
KEYS[5] line     ZSET    permit id -> rank, of those who wait for a lease or by priority
KEYS[6] leases   ZSET    permit id -> when its lease ends (ms)
KEYS[7] tickets  HASH    permit id -> what read_ticket reads; alive:<process> -> when it was heard of (ms)
KEYS[8..] log    LIST    closed slots of one period, newest first: "time:cost", the time (ms) is the end of the slot

ARGV[1] process    that lives
ARGV[2] held       ids of the permits whose leases are renewed, at most 500, with spaces
ARGV[3] burst      as throttle_acquire
ARGV[4] cooldown   ms
ARGV[5] slots      that leases share, 0 for no leases
ARGV[6] lease      ms that a lease lives unless it is renewed
ARGV[7] version    of what the fleet was told that the caller knows; "-" and ms of a pause where it is in another slot
ARGV[8] config     of the caller as text: a waiter is judged by its own
ARGV[9] periods    of the logs, rising, with spaces
ARGV[10..] period (ms), precision (ms), limit (-1: log only) of each log

Returns a line: a 1 or 0 for each id in turn, whether its lease is renewed ("-" for none); then, with spaces, "silent" where
the process did not answer when it was its turn, so that its places in the line are to be asked for again, else "heard"; and
the ids of those of its permits that are granted and to be come for, or called. Or "register <periods>" or "update <version> <fields>".
]]
-- @include read_limiter
-- @include process_of
-- @include forget_processes
-- @include reap_leases
-- @include start_cursors
-- @include serve_line
-- @include head_of_line
-- @include is_silent
-- @include end_turn
local process = ARGV[1]

local limiter = read_limiter(3)
if limiter.elsewhere then
  return limiter.elsewhere
end
redis.call('ZREM', limiter.leases, '') -- allowed on a full server, and then so is the rest
local missed = redis.call('HDEL', limiter.tickets, 'missed:' .. process) == 1
local heard = (missed or is_silent(limiter, process)) and 'silent' or 'heard'
redis.call('HSET', limiter.tickets, 'alive:' .. process, limiter.now)
reap_leases(limiter)
forget_processes(limiter)
local renewed = ''
for id in string.gmatch(ARGV[2], '%S+') do
  local ends = redis.call('ZSCORE', limiter.leases, id)
  local ticket = ends and read_ticket(limiter, id)
  if ticket and ticket.state == 'held' then
    limiter.granted = math.max(limiter.granted or 0, tonumber(ends), limiter.now + limiter.lease)
    redis.call('ZADD', limiter.leases, math.max(tonumber(ends), limiter.now + limiter.lease), id)
    renewed = renewed .. '1'
  else
    renewed = renewed .. '0'
  end
end
start_cursors(limiter)
serve_line(limiter)
local reply = { renewed == '' and '-' or renewed, heard }
for _, id in ipairs(redis.call('ZRANGEBYSCORE', limiter.leases, limiter.now, limiter.now + 320, 'LIMIT', 0, 500)) do
  if process_of(id) == process then
    local ticket = read_ticket(limiter, id)
    if ticket and ticket.state == 'granted' then
      reply[#reply + 1] = id
    end
  end
end
local head = head_of_line(limiter)
local first = head and process_of(head) == process and read_ticket(limiter, head)
if first and first.state == 'called' then
  reply[#reply + 1] = head
end
end_turn(limiter)
return table.concat(reply, ' ')
