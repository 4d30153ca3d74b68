-- Open the log of one period as a cursor that stands at the oldest use still counted. Writes nothing.
-- `used` is the cost of all uses from the cursor on, `passed` the number of older entries that the list still holds.
-- @include oldest_first
-- @include pass_until
-- @include split_use
local function open_log(key, period, precision, limit, used, passed, now)
  local log = { key = key, period = period, precision = precision, limit = limit, used = used, passed = passed }
  log.passed_before = passed
  local newest = redis.call('LINDEX', key, 0)
  if newest then
    log.newest, log.newest_cost = split_use(newest)
  end
  if not newest or log.newest + period <= now then
    -- Nothing in it counts any more; seen at one glance, so that a long log costs nothing after a pause.
    log.over, log.used, log.passed = true, 0, 0
  else
    log.next = oldest_first(key, passed)
    log.oldest, log.oldest_cost = log.next()
    pass_until(log, now)
  end
  log.used_now = log.used
  return log
end
