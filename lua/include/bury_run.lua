-- A run has failed for good: it goes to the dead letters, for `terms.dead_ttl` ms, with its payloads (0: to none); the oldest of more
-- than `terms.max_dead` are dropped. Who waits gets its error.
-- @include record_outcome
-- @include end_run
local function bury_run(part, at, member, run, failure, terms)
  redis.call('HINCRBY', at.state, 'dead', 1)
  if terms.dead_ttl > 0 then
    if redis.call('EXISTS', at.run_items) == 1 then
      redis.call('RENAME', at.run_items, at.letter_items)
      redis.call('PEXPIRE', at.letter_items, terms.dead_ttl)
    end
    redis.call('HSET', at.letter,
      'key', member, 'payload', run.payload, 'collect', run.collect, 'calls', run.calls, 'edge', run.edge, 'attempts', run.attempt,
      'error', failure, 'opened', run.opened, 'died', part.now, 'wait', redis.call('HGET', at.window, 'wait') or 0)
    redis.call('PEXPIRE', at.letter, terms.dead_ttl)
    redis.call('ZREMRANGEBYSCORE', at.dead, '-inf', part.now - terms.dead_ttl)
    redis.call('ZADD', at.dead, part.now, run.window)
    redis.call('PEXPIRE', at.dead, terms.dead_ttl)
    local surplus = math.min(100, redis.call('ZCARD', at.dead) - terms.max_dead)
    for _, oldest in ipairs(surplus > 0 and redis.call('ZRANGE', at.dead, 0, surplus - 1) or {}) do
      redis.call('UNLINK', at.dead .. ':' .. oldest, at.dead .. ':' .. oldest .. ':items')
      redis.call('ZREM', at.dead, oldest)
    end
  end
  record_outcome(part, at, run, { status = 'failed', error = failure, ttl = terms.result_ttl })
  end_run(part, at, member, terms)
end
