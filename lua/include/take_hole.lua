-- Take the first hole that `cost` fits into and that comes within `patience`: a place that was given up, already paid for
-- in every log. Returns its time, or nil. What is left of it stays a hole.
local function take_hole(limiter, cost, patience)
  local holes = redis.call('ZRANGEBYSCORE', limiter.holes, '(' .. limiter.now, '+inf', 'WITHSCORES', 'LIMIT', 0, 16)
  for i = 1, #holes, 2 do
    local id, left = string.match(holes[i], '^(.*) (%d+)$')
    local time = tonumber(holes[i + 1])
    if tonumber(left) >= cost and (patience < 0 or time - limiter.now <= patience) then
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
