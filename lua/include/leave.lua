-- A permit is done with: its lease ends, or its place in the line. With `back`, its cost goes back to the limits.
-- With save_limiter to follow; with `back`, before the cursors are started. What is written first is allowed on a full server.
-- @include end_lease
-- @include erase_everywhere
local function leave(limiter, ticket, back)
  local is_granted = ticket.state == 'granted' or ticket.state == 'held'
  redis.call('ZREM', limiter.line, ticket.id)
  if not is_granted then
    ticket.weight = 0
  end
  end_lease(limiter, ticket)
  if is_granted and back then
    erase_everywhere(limiter, ticket.time, ticket.cost)
  end
end
