-- The rank in the line of who comes now: behind all of its priority, before all of a lower one. As text, since a number of so
-- many digits would be written with an exponent. With save_limiter to follow.
local function next_rank(limiter, priority)
  -- Arrivals are quarters of a ms, so that they rise even where the state was lost and the line was not.
  local arrivals = tonumber(redis.call('HGET', limiter.state, 'arrivals') or 0)
  arrivals = math.max(arrivals + 1, (limiter.now - 1.7e12) * 4)
  limiter.changes.arrivals = string.format('%.0f', arrivals)
  return string.format('%.0f', arrivals - priority * 2 ^ 42)
end
