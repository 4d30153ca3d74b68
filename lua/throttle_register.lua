--[[
throttle_register: put the periods of a config on record beside those of other configs of the same name, so that what one
process grants counts for all of them. A new period starts from the log that knows its last uses best. A period that no
process has claimed for its own length and a minute more is taken off the record. Safe to repeat.

KEYS[1] state    HASH    the limiter's clock, sums and lanes
KEYS[2..] log    LIST    closed slots of one period, newest first: "time:cost", the time (ms) is the end of the slot

ARGV[1] own        how many of the logs are the caller's own; the others are those that it knows to be on record
ARGV[2..] period (ms), precision (ms) of each log, own ones first

Returns the periods on record now, rising, with spaces; or "register <periods>" when some of those were not declared.
]]
-- @include steady_clock
-- @include split_sums
-- @include seed_log
-- @include count_log
local state, own = KEYS[1], tonumber(ARGV[1])

local clock = redis.call('HMGET', state, 'seen', 'offset', 'last', 'periods')
local now, offset = steady_clock(clock[1], clock[2])
local last, registered = tonumber(clock[3] or 0), clock[4] or ''

local declared, logs, known = {}, {}, {}
for i = 2, #KEYS do
  local log = { key = KEYS[i], period = tonumber(ARGV[2 * i - 2]), precision = tonumber(ARGV[2 * i - 1]), own = i - 1 <= own }
  log.used, log.oldest, log.newest, log.newest_cost = split_sums(redis.call('HGET', state, 'log:' .. log.period))
  log.passed = 0
  declared[log.period], logs[#logs + 1] = log, log
end
for period in string.gmatch(registered, '%d+') do
  local log = declared[tonumber(period)]
  if not log then
    return 'register ' .. registered
  end
  log.on_record, known[#known + 1] = true, log
end

local kept, longest = {}, 0
for _, log in ipairs(logs) do
  local claimed = tonumber(redis.call('HGET', state, 'claimed:' .. log.period) or now)
  if log.own or (log.on_record and claimed + log.period + 60000 >= now) then
    kept[#kept + 1] = log.period
    longest = math.max(longest, log.period)
    if not log.on_record then
      if redis.call('EXISTS', log.key) == 0 then
        seed_log(log, known, now)
      end
      count_log(log, now)
      if log.newest > now + log.precision then
        last = math.max(last, log.newest) -- somebody waits for that time
      end
      redis.call('HSET', state, 'log:' .. log.period, log.used .. ' ' .. log.oldest .. ' ' .. log.newest .. ' ' .. log.newest_cost)
      redis.call('HSET', state, 'passed:' .. log.period, log.passed)
    end
    if log.own or claimed == now then
      redis.call('HSET', state, 'claimed:' .. log.period, now)
    end
  elseif log.on_record then
    redis.call('DEL', log.key)
    redis.call('HDEL', state, 'log:' .. log.period, 'passed:' .. log.period, 'claimed:' .. log.period)
  end
end
table.sort(kept)
local periods = table.concat(kept, ' ')
-- `expires` 0: the next grant sets the time to live anew, by the longest period there is now.
redis.call('HSET', state, 'seen', now + 1, 'offset', offset)
redis.call('HSET', state, 'periods', periods, 'last', last, 'busy', 1, 'expires', 0, 'shared', 1)
local ttl = longest + math.max(0, last - now) + 60000
redis.call('PEXPIRE', state, ttl)
for _, log in ipairs(logs) do
  redis.call('PEXPIRE', log.key, ttl)
end
return periods
