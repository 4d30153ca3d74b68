-- Take up to `cost` out of the log entry of a use at `time`, never more than stands there. Returns what was taken out.
-- @include each_use
local function erase_use(state, log, time, cost)
  local slot = math.ceil(time / log.precision) * log.precision
  local index, used = -1, 0
  each_use(log.key, function(used_at, cost_there)
    index = index + 1
    used = used_at == slot and cost_there or 0
    return used_at <= slot
  end)
  local erased = math.min(cost, used)
  if erased == 0 then
    return 0
  end

  local passed = tonumber(redis.call('HGET', state, 'passed:' .. log.period) or 0)
  local is_passed = redis.call('LLEN', log.key) - index <= passed
  if erased < used then
    redis.call('LSET', log.key, index, slot .. ':' .. (used - erased))
  else
    redis.call('LREM', log.key, 1, slot .. ':' .. used)
    if is_passed then
      redis.call('HINCRBY', state, 'passed:' .. log.period, -1)
    end
  end
  if not is_passed then
    redis.call('HINCRBY', state, 'used:' .. log.period, -erased)
  end
  return erased
end
