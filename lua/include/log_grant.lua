-- Log a use of `cost` at `time` that is granted; where it completes a burst, the cooldown begins.
-- @include log_use
-- @include start_cooldown
local function log_grant(limiter, log, time, cost)
  log_use(log, time, cost)
  if limiter.burst > 0 and log.period == 1000 and log.used >= limiter.burst then
    start_cooldown(limiter, time)
  end
end
