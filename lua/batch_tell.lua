--[[
batch_tell: tell the whole fleet something about a batcher: pause, resume, or flush. Workers hear of it at once. Safe to repeat,
and allowed on a full server.

KEYS[1] state   HASH  counters, and what the fleet was told
KEYS[2] due     ZSET  partition -> when its next batch is due (ms); also the channel on which workers are called
KEYS[3] forced  HASH  partition -> what was added until then (ms) is due at once
KEYS[4] since   ZSET  partition -> when its oldest was added (ms)

ARGV[1] what       "pause", "resume" or "flush"
ARGV[2] partition  that is flushed, "" for all
ARGV[3] stamp      of a flush that goes on, as the call before returned it, else 0

Returns the stamp of a flush (ms), else 0; and 1 where it is to go on since there are more partitions, else 0; with a space.
]]
-- @include logical_ms
-- @include keep_state
local state, due, forced, since = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local what, partition, stamp = ARGV[1], ARGV[2], tonumber(ARGV[3])
local more = 0
local now, offset = logical_ms(state)
redis.call('HDEL', state, '') -- allowed on a full server, and then so is the rest

-- What was added until now has a lower stamp or this one, and what is added later a higher one, within one millisecond too.
local function next_stamp()
  local stamped = string.format('%.0f', math.max(now, (redis.call('HGET', state, 'stamp') or 0) + 1))
  redis.call('HSET', state, 'stamp', stamped)
  return stamped
end

if what == 'pause' then
  redis.call('HSET', state, 'paused', now)
elseif what == 'resume' then
  redis.call('HDEL', state, 'paused')
elseif partition ~= '' then
  stamp = next_stamp()
  if redis.call('ZSCORE', since, partition) then
    redis.call('HSET', forced, partition, stamp)
    redis.call('ZADD', due, 'LT', now, partition)
  end
else
  if stamp == 0 then
    stamp = next_stamp()
    redis.call('HSET', state, 'flushed', stamp)
  end
  local found = redis.call('ZRANGEBYSCORE', due, string.format('(%.0f', now), '+inf', 'LIMIT', 0, 1000)
  for _, other in ipairs(found) do
    redis.call('ZADD', due, now, other)
  end
  more = #found == 1000 and 1 or 0
end
keep_state(state, now, offset)
if what ~= 'pause' then
  redis.call('PUBLISH', due, '0')
end
return string.format('%.0f %.0f', tonumber(stamp), more)
