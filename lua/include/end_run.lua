-- The run of a key is over: what is pending for the key may be run next. (Without a `channel` it is that of a caller's function.)
-- @include drop_run
-- @include rest
-- @include tell_next
local function end_run(part, at, member, channel, partition)
  redis.call('ZREM', at.leases, member)
  drop_run(at)
  local left = redis.call('HMGET', at.window, 'window', 'due', 'wait')
  if channel == '' then
    -- Whoever has not called since the next window opened waits for nothing any more.
    redis.call('ZREMRANGEBYSCORE', at.window .. ':callers', '-inf', left[1] and '(' .. left[1] or '+inf')
  end
  if left[1] then
    redis.call('ZADD', at.due, left[2], member)
    tell_next(part, at.due, member, left[1], channel, partition)
  else
    rest(at, member, left[3] or 0)
  end
end
