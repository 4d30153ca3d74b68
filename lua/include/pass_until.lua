-- Let go of every use that is over at `time`: it no longer counts for whoever is served from then on.
-- @include look_again
local function pass_until(log, time)
  while log.next_time and log.next_time + log.period <= time do
    if log.stale then
      look_again(log)
    else
      log.used = log.used - log.next_cost
      log.passed = log.passed + 1
      log.next_time, log.next_cost = log.next()
    end
  end
end
