-- Have the state live on, and note the batcher's clock. It is forgotten a month after its last use.
local function keep_state(state, now, offset)
  redis.call('HSET', state, 'seen', string.format('%.0f', now), 'offset', string.format('%.0f', offset))
  redis.call('PEXPIRE', state, 2592000000)
end
