-- Give back `cost` of the permit `id` that was granted for `time` when it was `asked` for. Returns how much came back.
-- A use that has begun is taken out of the logs, and so is what is left of a share that was taken ahead. A place in the line
-- that somebody else stands behind becomes a hole: it stays in the logs, since the places behind it were given with it
-- counted, and the next caller may take it. The last place is taken out, with the holes right before it, and the line ends
-- where the last one still waiting stands.
-- Before the cursors are started, and with save_limiter to follow.
-- @include erase_everywhere
-- @include entry_at
-- @include restore_cooldown
local function give_back(limiter, id, time, asked, cost)
  if asked < limiter.since then
    return 0 -- the limiter was reset, or its state lost, since then
  end
  if time <= limiter.now + 1 or string.sub(id, -6) == '.share' then
    return erase_everywhere(limiter, time, cost)
  end
  if redis.call('ZREM', limiter.waiting, id) == 0 then
    return 0 -- its place is gone
  end
  if time < limiter.last then
    redis.call('ZADD', limiter.holes, time, id .. ' ' .. cost)
    redis.call('PEXPIRE', limiter.holes, limiter.last - limiter.now + limiter.longest)
    return cost
  end

  erase_everywhere(limiter, time, cost)
  limiter.last = tonumber(redis.call('ZREVRANGE', limiter.waiting, 0, 0, 'WITHSCORES')[2] or 0)
  -- From the last on, where each is at hand. So many a call at most; the others stay holes until their time.
  local behind = redis.call('ZREVRANGEBYSCORE', limiter.holes, '+inf', '(' .. limiter.last, 'WITHSCORES', 'LIMIT', 0, 501)
  for i = 1, math.min(#behind, 1000), 2 do
    redis.call('ZREM', limiter.holes, behind[i])
    erase_everywhere(limiter, tonumber(behind[i + 1]), tonumber(string.match(behind[i], '%d+$')))
  end
  limiter.last = tonumber(behind[1002]) or limiter.last
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
