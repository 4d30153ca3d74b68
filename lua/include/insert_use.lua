-- Write a use of `cost` at `time` into a log that has later ones: places that callers wait for, the last of them at `last`.
-- Only before the log's cursor is started, and with save_limiter to follow.
-- @include count_later
-- @include split_use
local function insert_use(log, time, cost, last)
  local slot = math.ceil(time / log.precision) * log.precision
  log.oldest = 0 -- not known any more: the next call looks
  if log.newest <= slot then
    log.newest_cost, log.used = log.newest_cost + cost, log.used + cost
    return
  end
  local later, size = count_later(log, slot), redis.call('LLEN', log.key)
  local older = size - later -- closed slots up to this one
  local entry = redis.call('LINDEX', log.key, later)
  local slot_there, cost_there = 0, 0
  if entry then
    slot_there, cost_there = split_use(entry)
  end
  local is_passed
  if slot_there == slot then
    is_passed = older <= log.passed
    redis.call('LSET', log.key, later, string.format('%.0f:%.0f', slot, cost_there + cost))
  else
    is_passed = older < log.passed or (older == log.passed and slot + log.period <= last)
    local use = string.format('%.0f:%.0f', slot, cost)
    if entry then
      redis.call('LINSERT', log.key, 'BEFORE', entry, use)
    else
      log.created = redis.call('RPUSH', log.key, use) == 1
    end
    if is_passed then
      log.passed = log.passed + 1
    end
  end
  if not is_passed then
    log.used = log.used + cost
  end
end
