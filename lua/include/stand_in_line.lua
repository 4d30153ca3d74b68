-- Note who waits until when, so that the line can be counted, looked at and left. Returns how many wait.
local function stand_in_line(limiter, id, time)
  redis.call('ZADD', limiter.waiting, time, id)
  redis.call('ZREMRANGEBYSCORE', limiter.waiting, '-inf', limiter.now)
  redis.call('PEXPIRE', limiter.waiting, math.max(time, limiter.last) - limiter.now + 1000)
  return redis.call('ZCARD', limiter.waiting)
end
