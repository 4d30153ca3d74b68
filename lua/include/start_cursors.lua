-- Start the cursor of every log of a limiter.
-- @include start_cursor
local function start_cursors(limiter)
  for _, log in ipairs(limiter.logs) do
    start_cursor(log, limiter.now)
  end
end
