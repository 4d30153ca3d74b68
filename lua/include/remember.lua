-- Keep the reply to call `number` of this lane, and return it. A new lane, and any lane now and then, sweeps a few others on
-- its way: those that have been silent for a minute are forgotten, since no copy of their latest call can still be on its
-- way. It notes the limits of its config, too; `tells` adds those of another process, where they differ, to what is returned
-- (and not kept), after "\n!".
local function remember(limiter, lane, number, reply, tells)
  local field, now = 'lane:' .. lane, limiter.now
  local is_new = redis.call('HSET', limiter.state, field, number .. ' ' .. now .. ' ' .. reply) == 1
  if is_new or number % 256 == 0 then
    local version = string.match(limiter.version, '^-') or limiter.version
    local own = version .. ' ' .. limiter.config
    local seen, other = string.match(redis.call('HGET', limiter.state, 'config') or '', '^(%d+) (.*)$')
    redis.call('HSET', limiter.state, 'config', now .. ' ' .. own)
    local other_version, limits = string.match(other or '', '^(%S+) (.*)$')
    if tells and limits and limits ~= limiter.config and other_version == version and seen + 60000 > now then
      reply = reply .. '\n!' .. limits
    end
    local cursor = redis.call('HGET', limiter.state, 'lane_cursor') or '0'
    local swept = redis.call('HSCAN', limiter.state, cursor, 'MATCH', 'lane:*', 'COUNT', 32)
    for i = 1, #swept[2], 2 do
      local latest = tonumber(string.match(swept[2][i + 1], '^%d+ (%d+)'))
      if latest and latest + 60000 < now then
        redis.call('HDEL', limiter.state, swept[2][i])
      end
    end
    if swept[1] ~= cursor then
      redis.call('HSET', limiter.state, 'lane_cursor', swept[1])
    end
  end
  return reply
end
