-- What is pending for a key can be run now or later: tell who runs it. Without a `channel` these are the callers of the window,
-- which hold its functions.
-- @include tell_workers
-- @include wake_waiters
local function tell_next(part, due, member, window, channel, partition)
  if channel == '' then
    wake_waiters(string.sub(due, 1, -4) .. 'done:' .. window .. ':waiters', window)
  else
    tell_workers(part, due, member, channel, partition)
  end
end
