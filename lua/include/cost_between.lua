-- The cost of a log's uses after `from`, up to the slot of a use at `time`. Of the period that ends with such a use, its own
-- cost included, from `time - log.period`.
-- @include each_use
local function cost_between(log, from, time)
  local sum = 0
  each_use(log, function(used_at, cost)
    if used_at <= from then
      return true
    end
    if used_at < time + log.precision then
      sum = sum + cost
    end
  end)
  return sum
end
