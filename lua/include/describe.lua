-- A decision as one line of whole numbers, the reply of every script that decides:
-- granted (0 or 1), time (ms), wait (ms from now), people in line, index of the log that refused or made wait (0: the line,
-- -1: the cooldown), cost granted, ms of cooldown left; then for each log the cost in use and the ms until all of that is back.
local function describe(limiter, granted, time, wait, queue, reason, cost)
  local words = { granted, time, wait, queue, reason, cost, math.max(0, limiter.cooling - limiter.now) }
  for _, log in ipairs(limiter.logs) do
    local used = granted == 1 and log.used or log.used_now
    words[#words + 1] = used
    words[#words + 1] = used > 0 and log.newest + log.period - limiter.now or 0
  end
  return table.concat(words, ' ')
end
