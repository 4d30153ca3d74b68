-- What is left of a log, with nobody waiting, when the few uses that are over at `now` are let go of: the cost in use, the time
-- of the oldest as text, nil when all are over, and how many entries of its list that is. Nil where those are not few.
-- `used` and `newest`, the open slot, are as the state keeps them.
local function let_go(key, period, now, used, newest)
  if newest + period <= now then
    return 0, nil, 1e15
  end
  local tail = redis.call('LRANGE', key, -8, -1)
  for i = #tail, 1, -1 do
    local time, cost = string.match(tail[i], '^(%d+):(%d+)$')
    if time + period > now then
      return used, time, #tail - i
    end
    used = used - cost
  end
  if #tail < 8 then
    return used, newest, #tail
  end
  return nil
end
