-- Read one limiter: its clock, the end of its line, its leases, and the sums of every log.
-- Its KEYS are the seven from `base` on that the headers name, then one for each of `count` logs (by default all KEYS). ARGV
-- from `at` on are its terms: burst, cooldown, slots, lease, version, config, periods, then period, precision and limit of each
-- log (limit -1: only kept up to date for processes with another config).
-- Nothing else may be relied on where `elsewhere` is set: the reply to give instead, since the fleet was told another config
-- than the caller knows, or other periods are on record than were declared. (Not so for a caller that will do with those of
-- its own logs that are on record, `as_is`; `partial` then says that others must not be granted anything by these.)
-- @include steady_clock
-- @include split_sums
-- @include erase_overdue_holes
-- @include read_control
-- @include count_leases
local function read_limiter(at, as_is, base, count)
  base, count = base or 0, count or #KEYS - 7
  local limiter = {
    state = KEYS[base + 1],
    waiting = KEYS[base + 2],
    holes = KEYS[base + 3],
    control = KEYS[base + 4],
    line = KEYS[base + 5],
    leases = KEYS[base + 6],
    tickets = KEYS[base + 7],
    burst = tonumber(ARGV[at]),
    cooldown = tonumber(ARGV[at + 1]),
    slots = tonumber(ARGV[at + 2]),
    lease = tonumber(ARGV[at + 3]),
    version = ARGV[at + 4],
    config = ARGV[at + 5],
    periods = ARGV[at + 6],
    longest = 0,
    logs = {},
    changes = {}, -- fields of the state to be written with the rest
    messages = {}, -- to be sent when all is written
  }
  local fields = {
    'seen', 'offset', 'periods', 'expires', 'busy', 'last', 'cooling', 'cooled', 'since', 'shared',
    'in_use', 'fence', 'ranked', 'head',
  }
  for i = 1, count do
    local period = ARGV[at + 4 + 3 * i]
    fields[13 + 2 * i] = 'log:' .. period
    fields[14 + 2 * i] = 'passed:' .. period
  end
  local values = redis.call('HMGET', limiter.state, unpack(fields)) -- a config has at most 17 logs
  limiter.fresh = not values[3]
  local told = read_control(limiter, ARGV[at + 4])
  limiter.partial = told or (values[3] and values[3] ~= limiter.periods)
  if told and not as_is then
    limiter.elsewhere = told
    return limiter
  end
  if values[3] and values[3] ~= limiter.periods and not as_is then
    limiter.elsewhere = 'register ' .. values[3]
    return limiter
  end

  limiter.now, limiter.offset = steady_clock(values[1], values[2])
  limiter.dirty = limiter.offset > tonumber(values[2] or 0)
  limiter.resumes = limiter.now + (limiter.pause or 0) -- when a pause ends

  limiter.expires = tonumber(values[4] or 0)
  limiter.busy = values[5]
  limiter.last = tonumber(values[6] or 0) -- the latest place that was given for the future: whoever comes is served after it
  limiter.cooling = tonumber(values[7] or 0) -- end of the latest cooldown; that of a place yet to come may be given back,
  limiter.cooled = tonumber(values[8] or 0) -- then it ends with the one before
  limiter.since = tonumber(values[9] or 0) -- nothing that was granted before is known any more
  limiter.shared = values[10] -- processes with other periods are about
  limiter.in_use = tonumber(values[11] or 0) -- slots of all leases
  limiter.leased = values[11] -- there were some, whether or not the caller's config has slots
  limiter.fence = tonumber(values[12] or 0) -- of the latest lease
  limiter.ranked = tonumber(values[13] or 0) -- until when all who wait do so by priority
  limiter.head = values[14] -- who was told to ask when, as first of the line
  for i = 1, count do
    local shape = at + 4 + 3 * i
    local log = {
      key = KEYS[base + 7 + i],
      period = tonumber(ARGV[shape]),
      precision = tonumber(ARGV[shape + 1]),
      limit = tonumber(ARGV[shape + 2]),
    }
    log.used, log.oldest, log.newest, log.newest_cost = split_sums(values[13 + 2 * i])
    log.passed = tonumber(values[14 + 2 * i] or 0)
    limiter.longest = math.max(limiter.longest, log.period)
    if limiter.fresh or string.find(' ' .. values[3] .. ' ', ' ' .. ARGV[shape] .. ' ', 1, true) then
      limiter.logs[#limiter.logs + 1] = log
    end
    if limiter.fresh and redis.call('EXISTS', log.key) == 1 then
      limiter.elsewhere = 'register ' -- the state was lost, the logs were not: have them counted again
    end
  end
  if limiter.busy and not limiter.elsewhere then
    limiter.lined = redis.call('EXISTS', limiter.line) == 1
    erase_overdue_holes(limiter)
  end
  if limiter.fresh then
    count_leases(limiter)
  end
  return limiter
end
