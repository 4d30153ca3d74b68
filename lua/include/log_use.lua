-- Write a use of `cost` at `time` into its slot. A slot is named by its end, so that a use never counts too short; later
-- uses of one slot are added up, which bounds the log. The open slot stands in the state, the closed ones in the list.
local function log_use(log, time, cost)
  local slot = math.ceil(time / log.precision) * log.precision
  if log.over then
    log.newest, log.newest_cost = slot, cost
  elseif log.newest >= slot then
    log.newest_cost = log.newest_cost + cost
  else
    log.created = redis.call('LPUSH', log.key, string.format('%.0f:%.0f', log.newest, log.newest_cost)) == 1 or log.created
    log.newest, log.newest_cost = slot, cost
  end
  log.used = log.used + cost
end
