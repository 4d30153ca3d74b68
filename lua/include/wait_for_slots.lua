-- How many ms until the next lease ends, if nobody renews or releases one before.
local function wait_for_slots(limiter)
  local ends = redis.call('ZRANGE', limiter.leases, 0, 0, 'WITHSCORES')[2]
  return ends and math.max(1, ends - limiter.now + 1) or 1
end
