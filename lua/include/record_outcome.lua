-- Keep the one outcome of a run's window, a table of `status`, `value`, `error` and `ttl` (ms), and wake the processes that wait for it.
-- A leading run may cover calls for `wait` more: that of the key, which each such call lengthens (keep_lead).
-- @include wake_waiters
local function record_outcome(part, at, run, outcome)
  redis.call('HSET', at.done,
    'status', outcome.status, 'value', outcome.value or '', 'error', outcome.error or '', 'calls', run.calls, 'edge', run.edge,
    'attempts', run.attempt, 'fence', run.fence, 'by', run.by, 'at', part.now)
  local wait = run.edge == 'leading' and redis.call('HGET', at.window, 'wait') or 0
  redis.call('PEXPIRE', at.done, string.format('%.0f', outcome.ttl + wait))
  wake_waiters(at.waiters, run.window)
  redis.call('DEL', at.waiters)
end
