-- A use at `time` brings the cost of its second to the burst: the cooldown begins. That of a place yet to come may be given
-- back, then what is left is the one before, `cooled`.
local function start_cooldown(limiter, time)
  local ends = time + limiter.cooldown
  if limiter.cooling >= ends then
    limiter.cooled = math.max(limiter.cooled, ends)
    return
  end
  if limiter.cooling - limiter.cooldown <= limiter.now + 1 then
    limiter.cooled = limiter.cooling
  end
  limiter.cooling = ends
end
