-- Something of a partition is due at this time: note it where that is sooner than what was known, and tell idle workers in
-- how many ms to ask. `anyway` tells them also where it is not.
local function call_worker(due, partition, time, now, anyway)
  local sooner = redis.call('ZADD', due, 'LT', 'CH', time, partition) == 1
  if sooner or anyway then
    redis.call('PUBLISH', due, string.format('%.0f', math.max(0, time - now)))
  end
end
