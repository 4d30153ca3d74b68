-- Give back `cost` of the permit `id` that was granted for `time`. Returns how much came back.
-- A use that has begun is taken out of the logs. A place in the line that somebody else stands behind becomes a hole: it
-- stays in the logs, since the places behind it were given with it counted, and the next caller may take it. The last
-- place is taken out, with the holes right before it, and the line ends where the last one still waiting stands.
-- Before the cursors are started, and with save_limiter to follow.
-- @include erase_use
-- @include entry_at
-- @include restore_cooldown
local function give_back(limiter, id, time, cost)
  local function erase(at, amount)
    local erased = 0
    for _, log in ipairs(limiter.logs) do
      erased = math.max(erased, erase_use(log, at, amount, limiter.now))
    end
    return erased
  end

  if time < limiter.since then
    return 0
  end
  if time <= limiter.now or redis.call('ZREM', limiter.waiting, id) == 0 then
    return erase(time, cost)
  end
  if time < limiter.last then
    redis.call('ZADD', limiter.holes, time, id .. ' ' .. cost)
    redis.call('PEXPIRE', limiter.holes, limiter.expires - limiter.now)
    return cost
  end

  erase(time, cost)
  limiter.last = tonumber(redis.call('ZREVRANGE', limiter.waiting, 0, 0, 'WITHSCORES')[2] or 0)
  local behind = redis.call('ZRANGEBYSCORE', limiter.holes, '(' .. limiter.last, '+inf', 'WITHSCORES')
  for i = 1, #behind, 2 do
    redis.call('ZREM', limiter.holes, behind[i])
    erase(tonumber(behind[i + 1]), tonumber(string.match(behind[i], '%d+$')))
  end
  -- Uses that were passed for the sake of the places that are gone, and are not over by then, count again.
  local from = math.max(limiter.last, limiter.now)
  for _, log in ipairs(limiter.logs) do
    while log.passed > 0 do
      local used_at, used = entry_at(log, log.passed)
      if used_at + log.period <= from then
        break
      end
      log.passed, log.used = log.passed - 1, log.used + used
    end
  end
  restore_cooldown(limiter)
  return cost
end
