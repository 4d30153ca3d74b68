-- How many slots are leased is not known any more: the leases themselves may be left, and those who wait.
-- @include read_ticket
local function count_leases(limiter)
  local slots = 0
  for _, id in ipairs(redis.call('ZRANGE', limiter.leases, 0, 999)) do
    local ticket = read_ticket(limiter, id)
    if ticket and (ticket.state == 'held' or ticket.state == 'granted') then
      slots = slots + ticket.weight
    end
  end
  limiter.in_use = slots
  limiter.lined = redis.call('EXISTS', limiter.line) == 1
end
