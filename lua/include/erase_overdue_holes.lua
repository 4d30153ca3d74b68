-- A place that was given up and that nobody took until its time is a use that never was: erase it from the logs.
-- At most 100 a call; the next calls take the rest.
-- @include erase_everywhere
local function erase_overdue_holes(limiter)
  local overdue = redis.call('ZRANGEBYSCORE', limiter.holes, '-inf', limiter.now, 'WITHSCORES', 'LIMIT', 0, 100)
  for i = 1, #overdue, 2 do
    local cost = tonumber(string.match(overdue[i], '%d+$'))
    redis.call('ZREM', limiter.holes, overdue[i])
    erase_everywhere(limiter, tonumber(overdue[i + 1]), cost)
    limiter.dirty = true
  end
end
