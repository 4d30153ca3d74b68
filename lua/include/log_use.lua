-- Write a use of `cost` at `time` into its slot. A slot is named by its end, so that a use never counts too short; later
-- uses of one slot are added up in one entry, which bounds the list.
local function log_use(log, time, cost)
  local slot = math.ceil(time / log.precision) * log.precision
  if log.newest and log.newest >= slot then
    log.newest_cost = log.newest_cost + cost
    redis.call('LSET', log.key, 0, log.newest .. ':' .. log.newest_cost)
  else
    redis.call('LPUSH', log.key, slot .. ':' .. cost)
    if log.over and log.newest then
      redis.call('LTRIM', log.key, 0, 0)
    end
    log.created = not log.newest
    log.newest, log.newest_cost = slot, cost
  end
  log.used = log.used + cost
end
