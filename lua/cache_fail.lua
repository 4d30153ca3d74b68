--[[
cache_fail: a computation ends without a value: its failure is kept for a while, or nothing is. Safe to repeat. Where the lease was lost, or never
had, nothing changes.

KEYS[1] entry    HASH    what is known of the value, and who computes it
KEYS[2] value    STRING  its bytes
KEYS[3] waiters  SET     processes that wait for it

ARGV[1] id        of the computation
ARGV[2] error     as text
ARGV[3] keep      ms for which it is not tried again, 0 to let the next one try at once
ARGV[4] negative  1 where the error is an answer, in place of any value
ARGV[5] alone     ms for which nobody waits for another one's computation, since its value cannot be kept; 0 to wait
ARGV[6] tags      what the keys of tags' versions begin with, "" on a Cluster
ARGV[7] name      under which processes wait
ARGV[8] channel   on which changes are told
ARGV[9] message   what is told, before the fence

Returns the bytes and the line of a value that may be served instead, "rescued", as cache_ask does; or "" and "kept", or "lost" where the
lease is not the caller's.
]]
-- @include server_ms
-- @include read_value
-- @include read_computation
-- @include value_reply
-- @include outlast
-- @include wake_waiters
local entry, value, waiters = KEYS[1], KEYS[2], KEYS[3]
local id, failure, keep, negative, alone = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[5])
local tags, name, channel, message = ARGV[6], ARGV[7], ARGV[8], ARGV[9]

local now = server_ms()
local found = read_value(entry, value, now, '', tags)
read_computation(entry, found)
local is_over = found.done == id
local is_lost = found.by ~= id and not is_over
if not is_over and not is_lost then
  -- A full server takes these first writes, and may refuse the next one: then the failure is not kept, and the next one tries.
  redis.call('HDEL', entry, 'by', 'since', 'until', 'lease')
  if negative then
    redis.call('HDEL', entry, 'made', 'fresh', 'stale', 'rescue', 'took', 'fence', 'codec', 'tags')
    redis.call('DEL', value)
  end
  wake_waiters(waiters, name)
  redis.call('DEL', waiters)
  if keep > 0 then
    redis.pcall('HSET', entry, 'done', id,
      'failure', failure, 'failed', now, 'retry', now + keep)
    outlast(entry, keep)
  elseif alone > 0 then
    redis.pcall('HSET', entry, 'done', id, 'unkept', now, 'alone', now + alone)
    outlast(entry, alone)
  else
    redis.pcall('HSET', entry, 'done', id)
  end
  if negative then
    redis.call('PUBLISH', channel, message .. string.format('%.0f', found.number))
  end
end
if found.valid and (is_lost or not negative) and now < math.max(found.fresh, found.rescue) then
  return value_reply('rescued', found)
end
return { '', is_lost and 'lost' or 'kept' }
