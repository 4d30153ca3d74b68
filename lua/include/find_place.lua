-- Where a call of `cost` has its place: the earliest time that every limit allows, after all who came before. Returns the
-- time, and what it waits for: the index of a log, 0 for the line, -1 for the cooldown, -2 for the end of a
-- pause, nil when it need not wait.
-- @include earliest_fit
-- @include pass_until
local function find_place(limiter, cost)
  local time, reason = limiter.now, nil
  if limiter.last > time then
    time, reason = limiter.last, 0
  end
  if limiter.burst > 0 and limiter.cooling > time then
    time, reason = limiter.cooling, -1
  end
  if limiter.resumes > time then
    time, reason = limiter.resumes, -2
  end
  for i, log in ipairs(limiter.logs) do
    if log.limit >= 0 then
      local fits = earliest_fit(log, cost, time)
      if fits > time then
        time, reason = fits, i
      end
    end
  end
  for _, log in ipairs(limiter.logs) do
    pass_until(log, time)
  end
  return time, reason
end
