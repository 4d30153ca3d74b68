-- What is pending becomes the run of its key; nil for nothing. Late by less than a wait, it counts as run when it was due: else
-- the lateness of one run would put off the cap of the next.
-- @include read_run
local function take_window(part, at)
  local window = redis.call('HMGET', at.window, 'window', 'due', 'calls', 'edge', 'collect', 'opened', 'payload', 'wait')
  if not window[1] then
    return nil
  end
  if window[4] == 'trailing' then
    redis.call('HSET', at.window, 'last_run', part.now < window[2] + (window[8] or 0) and window[2] or part.now)
  end
  if window[5] == 'all' and redis.call('EXISTS', at.items) == 1 then -- else they were evicted, and its executor says so
    redis.call('RENAME', at.items, at.run_items)
  end
  redis.call('HSET', at.window,
    'run', window[1], 'run_attempt', 0, 'run_calls', window[3], 'run_edge', window[4], 'run_collect', window[5], 'run_opened', window[6],
    'run_payload', window[7] or '')
  redis.call('HDEL', at.window, 'window', 'due', 'cap', 'calls', 'bytes', 'edge', 'collect', 'opened', 'payload')
  return read_run(at)
end
