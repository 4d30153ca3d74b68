-- What is pending becomes the run of its key, which start_run writes; nil for nothing, and nil and true where a run is there already. Late
-- by less than a wait, it counts as run when it was due: else the lateness of one run would put off the cap of the next.
local function take_window(part, at)
  local window = redis.call('HMGET', at.window, 'run', 'window', 'due', 'calls', 'edge', 'collect', 'opened', 'payload', 'wait')
  if window[1] or not window[2] then
    return nil, window[1]
  end
  local run = {
    window = window[2], fence = '0', attempt = 0, calls = window[4], edge = window[5], collect = window[6], opened = window[7],
    by = '', payload = window[8] or '', error = '', repeats = '0',
  }
  if run.collect == 'all' and redis.call('EXISTS', at.items) == 1 then -- else they were evicted, and its executor says so
    redis.call('RENAME', at.items, at.run_items)
  end
  redis.call('HDEL', at.window, 'window', 'due', 'cap', 'calls', 'bytes', 'edge', 'collect', 'opened', 'payload')
  run.taken = {
    'run', run.window, 'run_calls', run.calls, 'run_edge', run.edge, 'run_collect', run.collect, 'run_opened', run.opened,
    'run_payload', run.payload,
  }
  if run.edge == 'trailing' then
    run.taken[13], run.taken[14] = 'last_run', part.now < window[3] + (window[9] or 0) and window[3] or part.now
  end
  return run
end
