-- Read one limiter: its clock, the end of its line, and the sums of every log.
-- KEYS are state, waiting, holes, then a log for each period. ARGV from `at` on: burst, cooldown, periods, then period,
-- precision and limit for each log (limit -1: only kept up to date for processes with another config).
-- Where the declared periods are not those on record, `unregistered` holds the latter and nothing else may be relied on;
-- unless the caller will do with those of its own logs that are, `whatever_is_on_record`.
-- @include server_ms
-- @include split_sums
-- @include erase_overdue_holes
local function read_limiter(at, whatever_is_on_record)
  local limiter = {
    state = KEYS[1],
    waiting = KEYS[2],
    holes = KEYS[3],
    burst = tonumber(ARGV[at]),
    cooldown = tonumber(ARGV[at + 1]),
    periods = ARGV[at + 2],
    longest = 0,
    logs = {},
  }
  local fields = { 'seen', 'offset', 'periods', 'expires', 'busy', 'last', 'cooling', 'cooled', 'since', 'shared' }
  for i = 4, #KEYS do
    local period = ARGV[at + 3 * (i - 3)]
    fields[2 * i + 3] = 'log:' .. period
    fields[2 * i + 4] = 'passed:' .. period
  end
  local values = redis.call('HMGET', limiter.state, unpack(fields)) -- a config has at most 17 logs
  limiter.fresh = not values[3]
  if values[3] and values[3] ~= limiter.periods and not whatever_is_on_record then
    limiter.unregistered = values[3]
    return limiter
  end

  -- All times of a limiter are TIME + offset. Where the server's clock was set back, the offset grows by as much, so that
  -- its time never falls and nobody is stalled by a use that seems to lie in the future.
  limiter.offset = tonumber(values[2] or 0)
  limiter.now = server_ms() + limiter.offset
  local seen = tonumber(values[1] or 0)
  if limiter.now + 1 < seen then
    limiter.offset = limiter.offset + seen - 1 - limiter.now
    limiter.now, limiter.dirty = seen - 1, true
  end

  limiter.expires = tonumber(values[4] or 0)
  limiter.busy = values[5]
  limiter.last = tonumber(values[6] or 0) -- the latest place that was given for the future: whoever comes is served after it
  limiter.cooling = tonumber(values[7] or 0) -- end of the latest cooldown; that of a place yet to come may be given back,
  limiter.cooled = tonumber(values[8] or 0) -- then it ends with the one before
  limiter.since = tonumber(values[9] or 0) -- nothing that was granted before is known any more
  limiter.shared = values[10] -- processes with other periods are about
  for i = 4, #KEYS do
    local shape = at + 3 * (i - 3)
    local log = { key = KEYS[i], period = tonumber(ARGV[shape]), precision = tonumber(ARGV[shape + 1]), limit = tonumber(ARGV[shape + 2]) }
    log.used, log.oldest, log.newest, log.newest_cost = split_sums(values[2 * i + 3])
    log.passed = tonumber(values[2 * i + 4] or 0)
    limiter.longest = math.max(limiter.longest, log.period)
    if limiter.fresh or string.find(' ' .. values[3] .. ' ', ' ' .. ARGV[shape] .. ' ', 1, true) then
      limiter.logs[#limiter.logs + 1] = log
    end
    if limiter.fresh and redis.call('EXISTS', log.key) == 1 then
      limiter.unregistered = '' -- the state was lost, the logs were not: have them counted again
    end
  end
  if limiter.busy and not limiter.unregistered then
    erase_overdue_holes(limiter)
  end
  return limiter
end
