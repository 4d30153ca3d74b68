-- Some of the processes that were not heard of for 10 s are forgotten, a few at each call, and those of their places with them
-- that are among the first 1,000 of the line.
-- @include process_of
local function forget_processes(limiter)
  local cursor = redis.call('HGET', limiter.state, 'alive_cursor') or '0'
  local found = redis.call('HSCAN', limiter.tickets, cursor, 'MATCH', 'alive:*', 'COUNT', 32)
  local dead, any = {}, false
  for i = 1, #found[2], 2 do
    if tonumber(found[2][i + 1]) + 10000 < limiter.now then
      local process = string.sub(found[2][i], 7)
      dead[process], any = true, true
      redis.call('HDEL', limiter.tickets, found[2][i], 'missed:' .. process)
    end
  end
  if any then
    for _, id in ipairs(redis.call('ZRANGE', limiter.line, 0, 999)) do
      if dead[process_of(id)] then
        redis.call('ZREM', limiter.line, id)
        redis.call('HDEL', limiter.tickets, id)
      end
    end
  end
  if found[1] ~= cursor then
    limiter.changes.alive_cursor = found[1]
  end
end
