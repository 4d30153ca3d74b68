-- Keep the one outcome of a run's window, a table of `status`, `value`, `error` and `ttl` (ms), and wake the processes that wait for it.
-- @include wake_waiters
local function record_outcome(part, at, run, outcome)
  redis.call('HSET', at.done,
    'status', outcome.status, 'value', outcome.value or '', 'error', outcome.error or '', 'calls', run.calls, 'edge', run.edge,
    'attempts', run.attempt, 'fence', run.fence, 'by', run.by, 'at', part.now)
  redis.call('PEXPIRE', at.done, outcome.ttl)
  wake_waiters(at.waiters, run.window)
  redis.call('DEL', at.waiters)
end
