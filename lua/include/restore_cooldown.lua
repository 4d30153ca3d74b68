-- Places at the end of the line are gone, and with them the cooldowns that they would have started. What is left is the one
-- that the last place still given starts, else the one that was on before any of them.
-- @include each_use
local function restore_cooldown(limiter)
  if limiter.burst == 0 or limiter.cooling - limiter.cooldown <= limiter.now + 1 then
    return
  end
  local uses = {}
  for _, log in ipairs(limiter.logs) do
    if log.period == 1000 then
      each_use(log, function(time, cost)
        uses[#uses + 1] = { time = time, cost = cost }
        return time + 1000 <= limiter.now
      end)
    end
  end
  -- Newest first: the sum of the second that ends with each use yet to come.
  local sum, oldest = 0, 0
  for i, use in ipairs(uses) do
    if use.time <= limiter.now then
      break
    end
    while oldest < #uses and uses[oldest + 1].time > use.time - 1000 do
      oldest = oldest + 1
      sum = sum + uses[oldest].cost
    end
    if sum >= limiter.burst then
      limiter.cooling = use.time + limiter.cooldown
      return
    end
    sum = sum - uses[i].cost
  end
  limiter.cooling = limiter.cooled
end
