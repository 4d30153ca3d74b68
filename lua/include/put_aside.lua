-- Take a permit out of the turn: its process does not answer. It has its place again when it asks within 10 s, which its
-- next beat is told.
-- @include write_ticket
-- @include process_of
local function put_aside(limiter, ticket)
  redis.call('ZREM', limiter.line, ticket.id)
  redis.call('ZADD', limiter.leases, limiter.now + 10000, ticket.id)
  write_ticket(limiter, ticket, 'silent')
  local process = process_of(ticket.id)
  redis.call('HSET', limiter.tickets, 'alive:' .. process, limiter.now - 3001, 'missed:' .. process, limiter.now)
end
