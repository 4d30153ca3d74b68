-- The run of a key is over: what is pending for the key may be run next, and without anything the key is forgotten after `wait`
-- and a minute, once no call can belong to the same burst.
-- @include tell_workers
local function end_run(part, at, member, channel, partition)
  redis.call('ZREM', at.leases, member)
  redis.call('DEL', at.run_items)
  redis.call('HDEL', at.window,
    'run', 'run_state', 'run_fence', 'run_attempt', 'run_calls', 'run_edge', 'run_collect', 'run_opened', 'run_by', 'run_payload', 'run_error')
  local left = redis.call('HMGET', at.window, 'window', 'due', 'wait')
  if left[1] then
    redis.call('ZADD', at.due, left[2], member)
    tell_workers(part, at.due, member, channel, partition)
    return
  end
  redis.call('ZREM', at.due, member)
  redis.call('PEXPIRE', at.window, (left[3] or 0) + 60000)
  if redis.call('EXISTS', at.due, at.leases) == 0 then
    redis.call('PEXPIRE', at.state, 86400000)
  end
end
