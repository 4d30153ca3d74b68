-- Let go of every use that is over at `time`: it no longer counts for whoever is served from then on.
-- @include look_again
local function pass_until(log, time)
  while true do
    local is_over = log.next_time and log.next_time + log.period <= time
    if log.stale and (is_over or not log.next_time) then
      look_again(log)
    elseif is_over then
      log.used = log.used - log.next_cost
      log.passed = log.passed + 1
      log.next_time, log.next_cost = log.next()
    else
      return
    end
  end
end
