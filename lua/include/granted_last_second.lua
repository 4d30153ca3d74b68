-- The cost whose time lay in the last second, from the log of the shortest period that covers a second. Where every period
-- is shorter, from the longest, scaled up.
-- @include each_use
local function granted_last_second(limiter)
  local log = limiter.logs[1]
  for _, other in ipairs(limiter.logs) do
    if log.period < 1000 then
      log = other -- logs come with rising periods
    end
  end
  local span, sum = math.min(log.period, 1000), 0
  each_use(log, function(time, cost)
    if time + span <= limiter.now then
      return true
    end
    if time <= limiter.now + log.precision then
      sum = sum + cost
    end
  end)
  return math.floor(sum * 1000 / span)
end
