-- The line ends earlier than it did: the uses passed for its sake that are not over at `time` count again.
-- @include split_use
local function count_again(state, log, time)
  local passed = tonumber(redis.call('HGET', state, 'passed:' .. log.period) or 0)
  local used = 0
  while passed > 0 do
    local entry = redis.call('LINDEX', log.key, -passed)
    if not entry then
      break
    end
    local used_at, cost = split_use(entry)
    if used_at + log.period <= time then
      break
    end
    passed, used = passed - 1, used + cost
  end
  if used > 0 then
    redis.call('HSET', state, 'passed:' .. log.period, passed)
    redis.call('HINCRBY', state, 'used:' .. log.period, used)
  end
end
