-- Take a use of `cost` at `time` out of every log of a limiter. Returns what was taken out of the one that knew most of it.
-- Only before the cursors are started, and with save_limiter to follow.
-- @include erase_use
local function erase_everywhere(limiter, time, cost)
  local erased = 0
  for _, log in ipairs(limiter.logs) do
    erased = math.max(erased, erase_use(log, time, cost, limiter.now))
  end
  return erased
end
