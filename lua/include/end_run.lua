-- The run of a key is over: what is pending for the key may be run next. `terms.keep` is that of functions, nil else.
-- @include drop_run
-- @include rest
-- @include tell_next
local function end_run(part, at, member, terms)
  redis.call('ZREM', at.leases, member)
  drop_run(at)
  local left = redis.call('HMGET', at.window, 'window', 'due', 'wait')
  if terms.keep then
    -- Whoever has not called since the next window opened waits for nothing any more.
    redis.call('ZREMRANGEBYSCORE', at.window .. ':callers', '-inf', left[1] and '(' .. left[1] or '+inf')
  end
  if left[1] then
    redis.call('ZADD', at.due, left[2], member)
    tell_next(part, at.due, member, left[1], terms)
  else
    rest(at, member, left[3] or 0)
  end
end
