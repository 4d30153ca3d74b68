-- Forget the run of a key.
local function drop_run(at)
  redis.call('UNLINK', at.run_items)
  redis.call('HDEL', at.window,
    'run', 'run_state', 'run_fence', 'run_attempt', 'run_calls', 'run_edge', 'run_collect', 'run_opened', 'run_by', 'run_payload',
    'run_error', 'run_repeats', 'run_since', 'run_taken', 'run_said')
end
