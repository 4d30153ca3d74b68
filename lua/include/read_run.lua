-- The run of a key that is under way, ready, or to be tried again; nil for none.
local function read_run(at)
  local known = redis.call('HMGET', at.window,
    'run', 'run_state', 'run_fence', 'run_attempt', 'run_calls', 'run_edge', 'run_collect', 'run_opened', 'run_by', 'run_payload', 'run_error',
    'run_repeats', 'run_since')
  if not known[1] then
    return nil
  end
  return {
    window = known[1], state = known[2], fence = known[3] or '0', attempt = tonumber(known[4]), calls = known[5],
    edge = known[6], collect = known[7], opened = known[8], by = known[9] or '', payload = known[10] or '', error = known[11] or '',
    repeats = known[12] or '0', since = tonumber(known[13] or nil),
  }
end
