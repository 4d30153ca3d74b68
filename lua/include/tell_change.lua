-- A key has changed: wake the processes that wait for it, and tell those that have copies.
-- @include wake_waiters
local function tell_change(waiters, name, channel, message)
  wake_waiters(waiters, name)
  redis.call('DEL', waiters)
  redis.call('PUBLISH', channel, message)
end
