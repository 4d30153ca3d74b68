-- The earliest time, not before `time`, at which `cost` more fits into this log's limit. The uses passed on the way stay passed.
-- 1e15 where it never does.
-- @include look_again
-- @include pass_until
local function earliest_fit(log, cost, time)
  pass_until(log, time)
  while log.used + cost > log.limit and (log.next_time or log.stale) do
    if log.stale then
      look_again(log)
    else
      time = math.max(time, log.next_time + log.period)
      pass_until(log, time)
    end
  end
  return log.used + cost <= log.limit and time or 1e15
end
