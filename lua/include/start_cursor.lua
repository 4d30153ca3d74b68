-- Put a log's cursor at the oldest use that still counts `now`. `used` is the cost of all uses from the cursor on, `passed`
-- the number of older ones that are still kept.
-- @include oldest_first
-- @include pass_until
local function start_cursor(log, now)
  if log.newest + log.period <= now then
    -- Nothing in it counts any more: seen at one glance, so that a long log costs nothing after a pause.
    log.over, log.used, log.passed = true, 0, 0
  else
    log.next = oldest_first(log, log.passed)
    log.next_time, log.next_cost = log.next()
    pass_until(log, now)
  end
  log.used_now = log.used
end
