-- Take `cost` out of the slot of a use at `time`, all of it or nothing. Returns what was taken out.
-- That is the first slot which ends at or after the use and holds as much. Where a process with coarser slots had opened a
-- later one, the use stands in that; to take it out of an earlier one leaves the later to count, which is longer, never too
-- short. Only before the log's cursor is started, and with save_limiter to follow.
-- @include count_later
-- @include split_use
local function erase_use(log, time, cost, now)
  if time + log.period <= now or log.newest < time then
    return 0
  end
  -- Index 0 is the open slot, 1 and more are those of the list; the oldest that may hold the use is looked at first.
  local index, slot, used = count_later(log, time - 1), nil, nil
  while index >= 0 do
    if index > 0 then
      slot, used = split_use(redis.call('LINDEX', log.key, index - 1))
    else
      slot, used = log.newest, log.newest_cost
    end
    if used >= cost or slot >= time + log.period then
      break
    end
    index = index - 1
  end
  if index < 0 or used < cost then
    return 0
  end

  log.oldest = 0 -- not known any more: the next call looks
  local size = redis.call('LLEN', log.key)
  local is_passed = size + 1 - index <= log.passed
  if not is_passed then
    log.used = log.used - cost
  end
  if cost < used then
    if index == 0 then
      log.newest_cost = used - cost
    else
      redis.call('LSET', log.key, index - 1, string.format('%.0f:%.0f', slot, used - cost))
    end
    return cost
  end
  if is_passed then
    log.passed = log.passed - 1
  end
  if index > 0 then
    local from_the_nearer_end = 2 * index > size and -1 or 1
    redis.call('LREM', log.key, from_the_nearer_end, string.format('%.0f:%.0f', slot, used))
  else
    local opened = redis.call('LPOP', log.key)
    log.newest, log.newest_cost = 0, 0
    if opened then
      log.newest, log.newest_cost = split_use(opened)
    end
  end
  return cost
end
