-- A lease is over: its slots are free again.
local function end_lease(limiter, ticket)
  redis.call('ZREM', limiter.leases, ticket.id)
  redis.call('HDEL', limiter.tickets, ticket.id)
  limiter.in_use = math.max(0, limiter.in_use - ticket.weight)
end
