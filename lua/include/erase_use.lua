-- Take up to `cost` out of the slot of a use at `time`, never more than stands there. Returns what was taken out.
-- Only before the log's cursor is started, and with save_limiter to follow.
-- @include each_use
local function erase_use(log, time, cost)
  local slot = math.ceil(time / log.precision) * log.precision
  local index, used
  each_use(log, function(used_at, cost_there, at)
    if used_at == slot then
      index, used = at, cost_there
    end
    return used_at <= slot
  end)
  local erased = math.min(cost, used or 0)
  if erased == 0 then
    return 0
  end

  log.oldest = 0 -- not known any more: the next call looks
  local size = redis.call('LLEN', log.key)
  local is_passed = size + 1 - index <= log.passed
  if not is_passed then
    log.used = log.used - erased
  end
  if erased < used then
    if index == 0 then
      log.newest_cost = used - erased
    else
      redis.call('LSET', log.key, index - 1, slot .. ':' .. (used - erased))
    end
    return erased
  end
  if is_passed then
    log.passed = log.passed - 1
  end
  if index > 0 then
    redis.call('LREM', log.key, 1, slot .. ':' .. used)
  else
    local opened = redis.call('LPOP', log.key)
    log.newest, log.newest_cost = 0, 0
    if opened then
      log.newest, log.newest_cost = split_use(opened)
    end
  end
  return erased
end
