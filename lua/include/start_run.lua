-- An executor starts the run of a key, under a lease and the next fence. With save_partition to follow.
-- @include next_number
local function start_run(part, at, member, run, executor, lease)
  run.attempt, run.fence = run.attempt + 1, next_number(part)
  redis.call('HSET', at.window, 'run_state', 'running', 'run_attempt', run.attempt, 'run_fence', run.fence, 'run_by', executor)
  redis.call('ZREM', at.due, member)
  redis.call('ZADD', at.leases, part.now + lease, member)
  redis.call('HINCRBY', at.state, 'runs', 1)
  part.last_run = part.now
end
