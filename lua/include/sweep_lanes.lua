-- Look at a few lanes: those that have been silent for a minute are forgotten, since no copy of their latest call can still be on
-- its way.
local function sweep_lanes(lanes, now)
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
end
