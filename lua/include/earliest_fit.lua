-- The earliest time, not before `time`, at which `cost` more fits into this log's limit. The uses passed on the way stay passed.
-- @include pass_until
local function earliest_fit(log, cost, time)
  pass_until(log, time)
  while log.used + cost > log.limit and log.next_time do
    time = math.max(time, log.next_time + log.period)
    pass_until(log, time)
  end
  return time
end
