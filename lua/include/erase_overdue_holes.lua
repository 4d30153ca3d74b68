-- A place that was given up and that nobody took until its time is a use that never was: erase it from the logs.
-- At most 100 a call; the next calls take the rest. Returns whether anything was erased.
-- @include erase_use
local function erase_overdue_holes(limiter, logs)
  local overdue = redis.call('ZRANGEBYSCORE', limiter.holes, '-inf', limiter.now, 'WITHSCORES', 'LIMIT', 0, 100)
  if #overdue == 0 and redis.call('EXISTS', limiter.holes) == 0 then
    redis.call('HDEL', limiter.state, 'holes') -- the holes' key was deleted by hand
    return true
  end
  for i = 1, #overdue, 2 do
    local cost = tonumber(string.match(overdue[i], '%d+$'))
    redis.call('ZREM', limiter.holes, overdue[i])
    for _, log in ipairs(logs) do
      erase_use(limiter.state, log, tonumber(overdue[i + 1]), cost)
    end
    redis.call('HINCRBY', limiter.state, 'holes', -1)
  end
  return #overdue > 0
end
