-- A decision as one line of whole numbers, the reply of every script that decides. First what every decision says:
--   granted (0 or 1), time (ms), cost, then the cost in use of each log;
-- then, after a bar, what only some have to say (a grant without the bar waits for nothing):
--   wait (ms from now), callers in line, what it waits for (the index of a log, 0 the line, -1 the cooldown, -2 a pause, -3 a
--   lease, -4 nothing, since as many wait as may),
--   ms of cooldown left, then for each log the ms until all that is in use is back.
local function describe(limiter, granted, time, cost, wait, queue, reason)
  local used_up, resets, cooling = {}, {}, 0
  for i, log in ipairs(limiter.logs) do
    local used = granted == 1 and log.used or log.used_now
    used_up[i] = string.format('%.0f', used)
    resets[i] = used > 0 and log.newest + log.period - limiter.now or 0
  end
  if limiter.burst > 0 then
    -- A cooldown that a place yet to come will start is not on yet.
    local ends = limiter.cooling - limiter.cooldown > limiter.now + 1 and limiter.cooled or limiter.cooling
    cooling = math.max(0, ends - limiter.now)
  end
  local basis = granted .. ' ' .. time .. ' ' .. cost .. ' ' .. table.concat(used_up, ' ')
  return basis .. ' | ' .. table.concat({ wait, queue, reason, cooling }, ' ') .. ' ' .. table.concat(resets, ' ')
end
