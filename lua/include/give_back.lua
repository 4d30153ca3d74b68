-- Give back `cost` of the permit `id` that was granted for `time`. Returns how much came back.
-- A use that has begun is taken out of the logs. A place in the line that somebody else stands behind becomes a hole: it
-- stays in the logs, since the places behind it were given with it counted, and the next caller may take it. The last
-- place is taken out, with the holes right before it, and the line ends where the last one still waiting stands.
-- @include erase_use
-- @include count_again
local function give_back(limiter, id, time, cost)
  local function erase(at, amount)
    local erased = 0
    for _, log in ipairs(limiter.logs) do
      erased = math.max(erased, erase_use(limiter.state, log, at, amount))
    end
    return erased
  end

  if time <= limiter.now or redis.call('ZREM', limiter.waiting, id) == 0 then
    return erase(time, cost)
  end
  if time < limiter.last then
    redis.call('ZADD', limiter.holes, time, id .. ' ' .. cost)
    redis.call('PEXPIRE', limiter.holes, limiter.last - limiter.now + limiter.longest + 1000)
    redis.call('HINCRBY', limiter.state, 'holes', 1)
    return cost
  end

  erase(time, cost)
  local last = tonumber(redis.call('ZREVRANGE', limiter.waiting, 0, 0, 'WITHSCORES')[2] or 0)
  local behind = redis.call('ZRANGEBYSCORE', limiter.holes, '(' .. last, '+inf', 'WITHSCORES')
  for i = 1, #behind, 2 do
    redis.call('ZREM', limiter.holes, behind[i])
    redis.call('HINCRBY', limiter.state, 'holes', -1)
    erase(tonumber(behind[i + 1]), tonumber(string.match(behind[i], '%d+$')))
  end
  redis.call('HSET', limiter.state, 'last', last)
  for _, log in ipairs(limiter.logs) do
    count_again(limiter.state, log, math.max(last, limiter.now))
  end
  return cost
end
