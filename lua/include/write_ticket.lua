-- Note what is known of a permit, for read_ticket.
local function write_ticket(limiter, ticket, state, time)
  ticket.state, ticket.time = state, time or ticket.time
  local text = string.format(
    '%s %.0f %.0f %s %.0f %.0f %.0f %s',
    state, ticket.cost, ticket.weight, ticket.rank, ticket.since, ticket.time, ticket.fence, ticket.config
  )
  redis.call('HSET', limiter.tickets, ticket.id, text)
end
