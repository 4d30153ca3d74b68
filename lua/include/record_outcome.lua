-- Keep a window's one outcome for `ttl` ms, and wake the processes that wait for it.
-- @include wake_waiters
local function record_outcome(part, at, window, status, value, failure, run, ttl)
  redis.call('HSET', at.done,
    'status', status, 'value', value, 'error', failure, 'calls', run.calls, 'edge', run.edge, 'attempts', run.attempt,
    'fence', run.fence, 'by', run.by, 'at', part.now)
  redis.call('PEXPIRE', at.done, ttl)
  wake_waiters(at.waiters, window)
  redis.call('DEL', at.waiters)
end
