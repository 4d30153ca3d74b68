-- Read one limiter: its clock, the end of its line, and the log of every period. All throttle scripts start with it.
-- KEYS from `k` on: state, waiting, holes, then a log for each period. ARGV from `a` on: burst, cooldown, periods, then
-- period, precision and limit for each log (limit -1: only kept up to date for processes with another config).
-- Where the declared periods are not those on record, `unregistered` holds the latter and nothing else may be relied on.
-- @include server_ms
-- @include erase_overdue_holes
-- @include open_log
local function read_limiter(k, a)
  local limiter = {
    state = KEYS[k],
    waiting = KEYS[k + 1],
    holes = KEYS[k + 2],
    burst = tonumber(ARGV[a]),
    cooldown = tonumber(ARGV[a + 1]),
    periods = ARGV[a + 2],
    longest = 0,
    logs = {},
  }
  local fields = { 'seen', 'offset', 'last', 'cooling', 'holes', 'periods', 'expires' }
  local shapes = {}
  for i = k + 3, #KEYS do
    local at = a + 3 * (i - k - 2)
    local shape = { key = KEYS[i], period = ARGV[at], precision = tonumber(ARGV[at + 1]), limit = tonumber(ARGV[at + 2]) }
    fields[#fields + 1] = 'used:' .. shape.period
    fields[#fields + 1] = 'passed:' .. shape.period
    shape.period = tonumber(shape.period)
    limiter.longest = math.max(limiter.longest, shape.period)
    shapes[#shapes + 1] = shape
  end
  local values = redis.call('HMGET', limiter.state, unpack(fields)) -- a config has at most 17 periods

  -- All times of a limiter are TIME + offset. Where the server's clock was set back, the offset grows by as much, so that
  -- its time never falls and nobody is stalled by a use that seems to lie in the future.
  limiter.seen, limiter.offset = tonumber(values[1] or 0), tonumber(values[2] or 0)
  limiter.now = server_ms() + limiter.offset
  if limiter.now < limiter.seen then
    limiter.offset = limiter.offset + limiter.seen - limiter.now
    limiter.now, limiter.stepped = limiter.seen, true
  end

  limiter.last = tonumber(values[3] or 0)
  limiter.line = limiter.last > limiter.now -- somebody has a place in the future: whoever comes is served after them
  limiter.cooling = limiter.burst > 0 and tonumber(values[4] or 0) or 0
  limiter.expires = tonumber(values[7] or 0)

  limiter.fresh = not values[6]
  if limiter.fresh then
    for _, shape in ipairs(shapes) do
      if redis.call('EXISTS', shape.key) == 1 then
        limiter.unregistered = '' -- the state was lost, the logs were not: have them counted again
        return limiter
      end
    end
  elseif values[6] ~= limiter.periods then
    limiter.unregistered = values[6]
    return limiter
  end

  limiter.hole_count = tonumber(values[5] or 0)
  if limiter.hole_count > 0 and erase_overdue_holes(limiter, shapes) then
    values = redis.call('HMGET', limiter.state, unpack(fields))
    limiter.hole_count = tonumber(values[5] or 0)
  end
  for i, shape in ipairs(shapes) do
    local used, passed = tonumber(values[6 + 2 * i] or 0), tonumber(values[7 + 2 * i] or 0)
    limiter.logs[i] = open_log(shape.key, shape.period, shape.precision, shape.limit, used, passed, limiter.now)
  end
  return limiter
end
