-- Add up what a log holds that still counts, and put the sum into the state. Returns the latest time in it that is yet to
-- come, else 0: somebody waits for that time.
-- @include each_use
local function count_log(state, log, now)
  local used, over, latest = 0, 0, 0
  each_use(log.key, function(time, cost)
    if time + log.period > now then
      used, latest = used + cost, math.max(latest, time)
    else
      over = over + 1
    end
  end)
  redis.call('HSET', state, 'used:' .. log.period, used, 'passed:' .. log.period, over)
  return latest > now + log.precision and latest or 0
end
