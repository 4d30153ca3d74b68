-- Let go of every use that is over at `time`: it no longer counts for whoever is served from then on.
local function pass_until(log, time)
  while log.oldest and log.oldest + log.period <= time do
    log.used = log.used - log.oldest_cost
    log.passed = log.passed + 1
    log.oldest, log.oldest_cost = log.next()
  end
end
