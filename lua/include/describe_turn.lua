-- As describe, for those who take turns; then, after another bar: the slots in use, the fence of the lease, and when the caller
-- began to wait (ms). For a place in the line `granted` is 2, and the wait is the ms after which to ask, 0 for "when told".
-- @include describe
-- @include count_line
local function describe_turn(limiter, granted, ticket, wait, reason)
  local time = granted == 1 and ticket.time or limiter.now
  local line = describe(limiter, granted, time, ticket.cost, wait, count_line(limiter), reason)
  return string.format('%s | %.0f %.0f %.0f', line, limiter.in_use, ticket.fence, ticket.since)
end
