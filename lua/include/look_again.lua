-- Uses were logged since the cursor was started: start it anew where it is, so that it comes by them.
-- @include oldest_first
local function look_again(log)
  log.stale = nil
  log.next = oldest_first(log, log.passed)
  log.next_time, log.next_cost = log.next()
end
