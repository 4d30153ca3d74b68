-- Keep the reply to call `number` of this lane in `lanes`, for recall. A new lane, and any lane now and then, sweeps a few
-- others on its way: those that have been silent for a minute are forgotten, since no copy of their latest call can still be
-- on its way. Returns whether it did so.
local function keep_reply(lanes, now, lane, number, reply)
  local is_new = redis.call('HSET', lanes, 'lane:' .. lane, number .. ' ' .. now .. ' ' .. reply) == 1
  if not is_new and number % 256 ~= 0 then
    return false
  end
  local cursor = redis.call('HGET', lanes, 'lane_cursor') or '0'
  local swept = redis.call('HSCAN', lanes, cursor, 'MATCH', 'lane:*', 'COUNT', 32)
  for i = 1, #swept[2], 2 do
    local latest = tonumber(string.match(swept[2][i + 1], '^%d+ (%d+)'))
    if latest and latest + 60000 < now then
      redis.call('HDEL', lanes, swept[2][i])
    end
  end
  if swept[1] ~= cursor then
    redis.call('HSET', lanes, 'lane_cursor', swept[1])
  end
  return true
end
