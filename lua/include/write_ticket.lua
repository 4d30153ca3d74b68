-- Note what is known of a permit, for read_ticket.
local function write_ticket(limiter, ticket, state, time)
  ticket.state, ticket.time = state, time or ticket.time
  local numbers = string.format('%.0f %.0f %s %.0f %.0f %.0f', ticket.cost, ticket.weight, ticket.rank, ticket.since, ticket.time, ticket.fence)
  redis.call('HSET', limiter.tickets, ticket.id, state .. ' ' .. numbers .. ' ' .. ticket.config)
end
