-- Add up what the list of a log holds, and open its newest slot: the sums of a log whose state was lost or is new.
-- @include each_use
local function count_log(log, now)
  local opened = redis.call('LPOP', log.key)
  if opened then
    log.newest, log.newest_cost = split_use(opened)
  end
  log.oldest = log.newest
  each_use(log, function(time, cost)
    if time + log.period > now then
      log.used, log.oldest = log.used + cost, time
    else
      log.passed = log.passed + 1
    end
  end)
end
