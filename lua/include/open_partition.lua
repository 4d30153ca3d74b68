-- A debouncer's partition as its state says. `now` is the server's time in ms; where that was set back, it goes on from the
-- latest time that was seen, so that nothing that is due later waits for the clock to catch up. `calls` and `runs` were counted. `kept` is what
-- is kept of the caller's `lane`, if any.
-- @include steady_clock
local function open_partition(state, lane)
  local known = redis.call('HMGET', state, 'seen', 'offset', 'fence', 'calls', 'lane:' .. (lane or ''), 'runs')
  local now, offset = steady_clock(known[1], known[2])
  return {
    state = state, now = now, offset = offset, fence = tonumber(known[3] or 0), calls = known[4] or 0, kept = known[5],
    runs = tonumber(known[6] or 0),
  }
end
