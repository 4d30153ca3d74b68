-- Write everything back after turns were given, and send word to those who wait.
-- @include save_limiter
-- @include keep_line
-- @include send_messages
local function end_turn(limiter, asker)
  save_limiter(limiter, limiter.granted)
  keep_line(limiter)
  send_messages(limiter, asker)
end
