-- How many of a log's oldest uses are over for everybody. With nobody waiting those are all that were passed. While
-- somebody waits, a passed use may still count until the time of their place: look, and keep those.
-- @include oldest_first
local function count_over(log, now, line)
  if log.passed == 0 or not line then
    return log.passed
  end
  local over = 0
  for time in oldest_first(log, 0) do
    if over == log.passed or time + log.period > now then
      break
    end
    over = over + 1
  end
  return over
end
