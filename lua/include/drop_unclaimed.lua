-- Take periods off the record that no process has claimed for their own length and a minute more: those of configs that are
-- no longer in use. Returns whether there were any. Their logs stay among the limiter's for the reply of this call.
-- Claims are made only where they are asked for, while the limiter is `shared` by processes with other periods.
local function drop_unclaimed(limiter)
  local kept, dropped, others = {}, false, false
  for _, log in ipairs(limiter.logs) do
    local claim = 'claimed:' .. log.period
    local claimed = log.limit < 0 and redis.call('HGET', limiter.state, claim)
    if claimed and claimed + log.period + 60000 < limiter.now then
      redis.call('HDEL', limiter.state, 'log:' .. log.period, 'passed:' .. log.period, claim)
      redis.call('DEL', log.key)
      log.dropped, dropped = true, true
    else
      kept[#kept + 1] = log.period
      others = others or log.limit < 0
      if log.limit < 0 and not claimed then
        redis.call('HSET', limiter.state, claim, limiter.now, 'shared', 1)
        limiter.shared = true
      end
    end
  end
  if dropped and not others then
    redis.call('HDEL', limiter.state, 'shared')
    limiter.shared = nil
  end
  limiter.periods = table.concat(kept, ' ')
  return dropped
end
