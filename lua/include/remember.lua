-- Keep the reply to call `number` of this lane, for as long as any copy of the call may still be on its way, and return it.
local function remember(lane, number, ttl, reply)
  redis.call('SET', lane, number .. ' ' .. reply, 'PX', ttl)
  return reply
end
