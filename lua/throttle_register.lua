--[[
throttle_register: put the periods of a config on record beside those of other configs of the same name, so that what one
process grants counts for all of them. A new period starts from the log that knows its last uses best. A period that no
process has claimed for its own length and a minute more is taken off the record. Safe to repeat.

KEYS[1] state    HASH    the limiter's clock and sums
KEYS[2..] log    LIST    of one period, newest first: "time:cost", the time (ms) is the end of the slot of use

ARGV[1] own        how many of the periods that follow are the caller's own; the others are those it knows to be on record
ARGV[2..] period (ms), precision (ms) of each log, own ones first

Returns the periods on record now, rising, with spaces; or "register <periods>" when some of those were not declared.
]]
-- @include server_ms
-- @include seed_log
-- @include count_log
local state, own = KEYS[1], tonumber(ARGV[1])

local declared, logs = {}, {}
for i = 2, #KEYS do
  local log = { key = KEYS[i], period = tonumber(ARGV[2 * i - 2]), precision = tonumber(ARGV[2 * i - 1]), own = i - 1 <= own }
  declared[log.period], logs[#logs + 1] = log, log
end
local on_record = {}
local registered = redis.call('HGET', state, 'periods') or ''
for period in string.gmatch(registered, '%d+') do
  if not declared[tonumber(period)] then
    return 'register ' .. registered
  end
  on_record[tonumber(period)] = true
end

local clock = redis.call('HMGET', state, 'seen', 'offset', 'last')
local now = math.max(server_ms() + tonumber(clock[2] or 0), tonumber(clock[1] or 0))
local last = tonumber(clock[3] or 0)
local sources, longest = {}, 0
for _, log in ipairs(logs) do
  if redis.call('EXISTS', log.key) == 1 then
    sources[#sources + 1] = log
  end
end

local kept = {}
for _, log in ipairs(logs) do
  local claimed = tonumber(redis.call('HGET', state, 'claimed:' .. log.period) or now)
  if log.own or (on_record[log.period] and claimed + log.period + 60000 >= now) then
    kept[#kept + 1] = log.period
    longest = math.max(longest, log.period)
    if not on_record[log.period] then
      seed_log(log, sources, now)
      last = math.max(last, count_log(state, log, now))
    end
    if log.own or claimed == now then
      redis.call('HSET', state, 'claimed:' .. log.period, now)
    end
  elseif on_record[log.period] then
    redis.call('DEL', log.key)
    redis.call('HDEL', state, 'used:' .. log.period, 'passed:' .. log.period, 'claimed:' .. log.period)
  end
end
table.sort(kept)
local periods = table.concat(kept, ' ')
-- `expires` 0: the next grant sets the time to live anew, by the longest period there is now.
redis.call('HSET', state, 'periods', periods, 'last', last, 'expires', 0)
local ttl = longest + math.max(0, last - now) + 60000
redis.call('PEXPIRE', state, ttl)
for _, log in ipairs(logs) do
  redis.call('PEXPIRE', log.key, ttl)
end
return periods
