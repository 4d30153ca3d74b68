-- Keep the reply to call `number` of this lane, and return it. Now and then it notes the limits of its config, too; `tells`
-- adds those of another process, where they differ, to what is returned (and not kept), after "\n!".
-- @include keep_reply
local function remember(limiter, lane, number, reply, tells)
  local now = limiter.now
  if keep_reply(limiter.state, now, lane, number, reply) then
    local version = string.match(limiter.version, '^-') or limiter.version
    local own = version .. ' ' .. limiter.config
    local seen, other = string.match(redis.call('HGET', limiter.state, 'config') or '', '^(%d+) (.*)$')
    redis.call('HSET', limiter.state, 'config', now .. ' ' .. own)
    local other_version, limits = string.match(other or '', '^(%S+) (.*)$')
    if tells and limits and limits ~= limiter.config and other_version == version and seen + 60000 > now then
      reply = reply .. '\n!' .. limits
    end
  end
  return reply
end
