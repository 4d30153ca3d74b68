-- Note who waits for a place until when, so that those can be counted, looked at and left. Returns how many wait.
local function note_wait(limiter, id, time)
  redis.call('ZADD', limiter.waiting, time, id)
  redis.call('ZREMRANGEBYSCORE', limiter.waiting, '-inf', limiter.now)
  redis.call('PEXPIRE', limiter.waiting, math.max(time, limiter.last) - limiter.now + 1000)
  return redis.call('ZCARD', limiter.waiting)
end
