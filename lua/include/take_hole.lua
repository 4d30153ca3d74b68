-- Take the first hole that `cost` fits into and that comes within `patience`: a place that was given up, already paid for
-- in every log. Returns its time, or nil. What is left of it stays a hole. A place that was given by another config must
-- fit into the caller's own limits.
-- @include each_use
local function take_hole(limiter, cost, patience)
  local function fits(time)
    for _, log in ipairs(limiter.logs) do
      local sum = 0
      each_use(log, function(used_at, used)
        if used_at + log.period <= time then
          return true
        end
        if used_at < time + log.precision then
          sum = sum + used
        end
      end)
      if log.limit >= 0 and sum > log.limit then
        return false
      end
    end
    return true
  end

  local holes = redis.call('ZRANGEBYSCORE', limiter.holes, '(' .. limiter.now, '+inf', 'WITHSCORES', 'LIMIT', 0, 16)
  for i = 1, #holes, 2 do
    local id, left = string.match(holes[i], '^(.*) (%d+)$')
    local time = tonumber(holes[i + 1])
    if tonumber(left) >= cost and (patience < 0 or time - limiter.now <= patience) and fits(time) then
      redis.call('ZREM', limiter.holes, holes[i])
      if tonumber(left) > cost then
        redis.call('ZADD', limiter.holes, time, id .. ' ' .. (left - cost))
        redis.call('PEXPIRE', limiter.holes, limiter.expires - limiter.now)
      end
      return time
    end
  end
  return nil
end
