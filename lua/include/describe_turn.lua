-- As describe, for those who take turns; after another bar: the slots in use, the fence of the lease, when the caller began
-- to wait (ms), and the fields of the config that the fleet was told are left out. A place that is waited for in the line has
-- granted 2, and for its wait the ms after which to ask, 0 for "when told".
-- @include describe
-- @include count_line
local function describe_turn(limiter, granted, ticket, wait, reason)
  local line = describe(limiter, granted, granted == 1 and ticket.time or limiter.now, ticket.cost, wait, count_line(limiter), reason)
  return string.format('%s | %.0f %.0f %.0f', line, limiter.in_use, ticket.fence, ticket.since)
end
