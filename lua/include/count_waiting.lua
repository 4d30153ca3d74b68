-- How many callers wait for their time.
local function count_waiting(limiter)
  if limiter.last <= limiter.now then
    return 0
  end
  return redis.call('ZCOUNT', limiter.waiting, '(' .. limiter.now, '+inf')
end
