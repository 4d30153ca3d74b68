-- What is pending becomes the run of its key; nil for nothing. Late by less than a wait, it counts as run when it was due: else
-- the lateness of one run would put off the cap of the next.
local function take_window(part, at)
  local window = redis.call('HMGET', at.window, 'window', 'due', 'calls', 'edge', 'collect', 'opened', 'payload', 'wait')
  if not window[1] then
    return nil
  end
  if window[5] == 'all' and redis.call('EXISTS', at.items) == 1 then -- else they were evicted, and its executor says so
    redis.call('RENAME', at.items, at.run_items)
  end
  local fields = {
    'run', window[1], 'run_attempt', 0, 'run_calls', window[3], 'run_edge', window[4], 'run_collect', window[5], 'run_opened', window[6],
    'run_payload', window[7] or '',
  }
  if window[4] == 'trailing' then
    fields[15], fields[16] = 'last_run', part.now < window[2] + (window[8] or 0) and window[2] or part.now
  end
  redis.call('HSET', at.window, unpack(fields))
  redis.call('HDEL', at.window, 'window', 'due', 'cap', 'calls', 'bytes', 'edge', 'collect', 'opened', 'payload')
  return {
    window = window[1], fence = '0', attempt = 0, calls = window[3], edge = window[4], collect = window[5], opened = window[6],
    by = '', payload = window[7] or '', error = '', repeats = '0',
  }
end
