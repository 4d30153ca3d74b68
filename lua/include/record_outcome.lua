-- Keep a window's one outcome for `ttl` ms, and wake the processes that wait for it: at most 1,000, others ask by themselves.
-- `superseded` and the like are for each caller to tell.
local function record_outcome(part, at, window, status, value, failure, run, ttl)
  redis.call('HSET', at.done,
    'status', status, 'value', value, 'error', failure, 'calls', run.calls, 'edge', run.edge, 'attempts', run.attempt,
    'fence', run.fence, 'by', run.by, 'at', part.now)
  redis.call('PEXPIRE', at.done, ttl)
  for i, process in ipairs(redis.call('SMEMBERS', at.waiters)) do
    if i <= 1000 then
      redis.call('PUBLISH', 'redisopt:v1:wake:' .. process, window .. ' 0')
    end
  end
  redis.call('DEL', at.waiters)
end
