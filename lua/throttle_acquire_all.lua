--[[
throttle_acquire_all: take from several limiters at once, all or nothing: now, or wait in the line of the one that refuses
longest. Refused by one, charged by none. Safe to repeat, as throttle_acquire is.

KEYS[1..] of each limiter in turn the keys that throttle_acquire names

ARGV[1] lane       of the caller
ARGV[2] number     of this call in its lane, rising
ARGV[3] id         of the permit
ARGV[4] patience   0 now or not at all, else the caller waits
ARGV[5] standing   in the line of which limiter it waits already, by number; 0 in none
ARGV[6..] of each limiter: how many logs it has, the cost and the weight wanted, as many callers as may wait, then as
  throttle_acquire: burst, cooldown, slots, lease, version, config, periods, and period, precision and limit of each log

Returns lines: "<granted> <number of the limiter that refuses, 0 for none>", granted being 2 for who waits; then for each
limiter the line of numbers that include/describe_turn.lua explains. Or "elsewhere <number of the limiter> <reply>", the reply
being "register <periods>" or "update <version> <fields>" as throttle_acquire gives it; or "stale".
]]
-- @include recall
-- @include remember
-- @include read_all
-- @include reap_leases
-- @include start_cursors
-- @include serve_line
-- @include head_of_line
-- @include may_go
-- @include leave
-- @include take_place
-- @include hold
-- @include next_rank
-- @include note_process
-- @include describe_turn
-- @include count_line
-- @include end_turn
local lane, number, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local patience, standing = tonumber(ARGV[4]), tonumber(ARGV[5])

local known = recall(lane, number)
if known then
  return known
end
local limiters, elsewhere = read_all(6)
if elsewhere then
  return elsewhere
end
-- A full server refuses this first write: then nothing has been written.
redis.call('HSET', KEYS[1], 'seen', limiters[1].now + 1)

local refuses, wait, reason = 0, -1, 0
for i, limiter in ipairs(limiters) do
  reap_leases(limiter)
  start_cursors(limiter)
  if head_of_line(limiter) ~= id then
    serve_line(limiter)
  end
  local head = head_of_line(limiter)
  local time, asks_in, why
  if head and head ~= id then
    asks_in, why = limiter.blocked and limiter.blocked.wait or 1, 0
  else
    time, asks_in, why = may_go(limiter, limiter.cost, limiter.weight, 0)
  end
  if not time and asks_in > wait then
    refuses, wait, reason = i, asks_in, why or 0
  end
end

local granted = refuses == 0 and 1 or 0
local rank = '0'
local since = limiters[1].now
if standing > 0 then
  local limiter = limiters[standing]
  local ticket = read_ticket(limiter, id)
  if ticket then
    rank, since = ticket.rank, ticket.since
  end
  if ticket and refuses ~= standing then
    leave(limiter, ticket)
  end
end
local lines = {}
for i, limiter in ipairs(limiters) do
  local ticket = { id = id, cost = limiter.cost, weight = limiter.weight, rank = rank, since = since, time = 0, fence = 0, config = limiter.config }
  if granted == 1 then
    take_place(limiter, ticket, limiter.now, limiter.now)
    hold(limiter, ticket)
  elseif i == refuses and patience ~= 0 then
    if standing ~= i and limiter.queue >= 0 and count_line(limiter) >= limiter.queue then
      reason = -4
    else
      if rank == '0' then
        ticket.rank = next_rank(limiter, 0)
      end
      granted = 2
      redis.call('ZREM', limiter.leases, id)
      redis.call('ZADD', limiter.line, ticket.rank, id)
      write_ticket(limiter, ticket, 'joint')
      note_process(limiter, id)
    end
  end
  serve_line(limiter)
  if i == refuses and granted == 2 then
    local is_head = head_of_line(limiter) == id
    wait = is_head and math.max(1, wait) or 0
  end
  lines[i + 1] = describe_turn(limiter, granted == 1 and 1 or 0, ticket, granted == 1 and 0 or wait, i == refuses and reason or 0)
  end_turn(limiter, id)
end
lines[1] = granted .. ' ' .. refuses
return remember(limiters[1], lane, number, table.concat(lines, '\n'))
