-- What is pending for a key can be run now or later: tell who runs it, the workers on `terms.channel`; or, with `terms.keep`, the
-- callers of the window, which hold its functions.
-- @include tell_workers
-- @include wake_waiters
local function tell_next(part, due, member, window, terms)
  if terms.keep then
    wake_waiters(string.sub(due, 1, -4) .. 'done:' .. window .. ':waiters', window)
  else
    tell_workers(part, due, member, terms.channel, terms.partition)
  end
end
