-- The holder of what was granted has come for it: its lease lives on from now. Without leases, only the charge stays, and the
-- place where it is yet to come.
-- @include write_ticket
-- @include note_wait
local function hold(limiter, ticket)
  if limiter.slots > 0 then
    local ends = math.max(ticket.time, limiter.now) + limiter.lease
    redis.call('ZADD', limiter.leases, ends, ticket.id)
    limiter.granted = math.max(limiter.granted or 0, ends)
    write_ticket(limiter, ticket, 'held')
    return
  end
  redis.call('ZREM', limiter.leases, ticket.id)
  redis.call('HDEL', limiter.tickets, ticket.id)
  if ticket.time > limiter.now + 1 then
    note_wait(limiter, ticket.id, ticket.time)
  end
end
