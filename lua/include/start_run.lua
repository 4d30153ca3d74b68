-- An executor starts the run of a key, under a lease and the next fence. With save_partition to follow.
-- @include next_number
local function start_run(part, at, member, run, executor, lease)
  run.attempt, run.fence = run.attempt + 1, next_number(part)
  local taken = run.taken or {} -- fields of one that take_window has just taken
  redis.call('HSET', at.window,
    'run_state', 'running', 'run_attempt', run.attempt, 'run_fence', run.fence, 'run_by', executor, unpack(taken))
  redis.call('ZREM', at.due, member)
  redis.call('ZADD', at.leases, part.now + lease, member)
  part.last_run, part.runs = part.now, part.runs + 1
end
