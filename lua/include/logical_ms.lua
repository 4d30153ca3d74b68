-- The batcher's clock in ms: the server's, but it never goes back. Where the server's does, the offset grows by as much, so that
-- nobody waits for the old time to come again. Returns the offset, too, for keep_state to note, and whether that is pressing.
-- @include server_ms
local function logical_ms(state)
  local time = server_ms()
  local noted = redis.call('HMGET', state, 'seen', 'offset')
  local now = math.max(time + (noted[2] or 0), noted[1] or 0)
  return now, now - time, now > time + (noted[2] or 0)
end
