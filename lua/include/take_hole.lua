-- Take the first hole that `cost` fits into and that comes within `patience`: a place that was given up, already paid for
-- in every log. Returns its time, or nil. What is left of it stays a hole. A place that was given by another config must
-- fit into the caller's own limits and lie in none of its cooldowns, and in no pause.
-- Where all that is used until then leaves room, it is had now: whoever gave it up does not keep anybody waiting.
-- Only before the cursors are started, and with save_limiter to follow.
-- @include cost_between
-- @include erase_use
-- @include insert_use
-- @include start_cooldown
local function take_hole(limiter, cost, patience)
  local now, burst = limiter.now, limiter.burst
  local function is_closed(time)
    return time < limiter.resumes
      or (burst > 0 and (time < limiter.cooled or (time < limiter.cooling and time > limiter.cooling - limiter.cooldown)))
  end
  -- Whether every limit bears what is used after `since` a period before, until the hole; and whether that is a burst.
  local function bears(since, time)
    local is_burst = false
    for _, log in ipairs(limiter.logs) do
      if log.limit >= 0 then
        local sum = cost_between(log, since - log.period, time)
        if sum > log.limit then
          return false
        end
        is_burst = is_burst or (burst > 0 and log.period == 1000 and sum >= burst)
      end
    end
    return true, is_burst
  end

  local holes = redis.call('ZRANGEBYSCORE', limiter.holes, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 16)
  for i = 1, #holes, 2 do
    local id, left = string.match(holes[i], '^(.*) (%d+)$')
    local time = tonumber(holes[i + 1])
    if tonumber(left) >= cost then
      local at, fits, is_burst = now, bears(now, time)
      if not fits or is_burst or is_closed(now) then
        at, fits, is_burst = time, false, false
        if (patience < 0 or time - now <= patience) and not is_closed(time) then
          fits, is_burst = bears(time, time)
        end
      end
      if fits then
        if tonumber(left) > cost then
          redis.call('ZADD', limiter.holes, time, id .. ' ' .. (left - cost))
        end
        redis.call('ZREM', limiter.holes, holes[i])
        if at == now then
          for _, log in ipairs(limiter.logs) do
            if erase_use(log, time, cost, now) > 0 then
              insert_use(log, now + 1, cost, limiter.last)
            end
          end
        end
        if is_burst then
          start_cooldown(limiter, time)
        end
        return at
      end
    end
  end
  return nil
end
