-- Free the slots of leases that nobody renewed, at most 1,000 a call. What was granted to a waiter who did not come for it
-- within its time was not used: it goes back to the limits, and the waiter is put aside.
-- Before the cursors are started, and with save_limiter to follow.
-- @include read_ticket
-- @include end_lease
-- @include erase_everywhere
-- @include put_aside
-- @include count_leases
local function reap_leases(limiter)
  local ended = redis.call('ZRANGEBYSCORE', limiter.leases, '-inf', limiter.now, 'LIMIT', 0, 1000)
  local lost = false
  for _, id in ipairs(ended) do
    local ticket = read_ticket(limiter, id)
    if not ticket then
      -- Lost, by an eviction or by hand, and with it how many slots it had.
      redis.call('ZREM', limiter.leases, id)
      lost = true
    elseif ticket.state == 'granted' then
      end_lease(limiter, ticket)
      erase_everywhere(limiter, ticket.time, ticket.cost)
      put_aside(limiter, ticket)
    elseif ticket.state == 'silent' then
      redis.call('ZREM', limiter.leases, id)
      redis.call('HDEL', limiter.tickets, id)
    else
      end_lease(limiter, ticket)
    end
  end
  if lost then
    count_leases(limiter)
  end
  limiter.dirty = limiter.dirty or #ended > 0
end
