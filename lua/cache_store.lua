--[[
cache_store: keep a value: that of a computation, while its lease is not another's, or one that a caller sets. Safe to repeat.

KEYS[1] entry    HASH    what is known of the value, and who computes it
KEYS[2] value    STRING  its bytes
KEYS[3] waiters  SET     processes that wait for it

ARGV[1] id       of the computation, or of the call
ARGV[2] leased   1 for a computation, 0 for a value that is set in any case
ARGV[3] payload  as bytes
ARGV[4] fresh    ms that it is fresh
ARGV[5] stale    ms that it is served while it is refreshed
ARGV[6] rescue   ms that it is served where that fails
ARGV[7] took     ms that its computation took
ARGV[8] tags     of the value, "tag=version tag=version", at most 16
ARGV[9] name     under which processes wait
ARGV[10] channel  on which changes are told, "" to tell nobody
ARGV[11] message  what is told, before the fence

Returns the value's fence, "" where the lease was lost: then nothing is changed.
]]
-- @include server_ms
-- @include rising
-- @include wake_waiters
local entry, value, waiters = KEYS[1], KEYS[2], KEYS[3]
local id, is_leased, payload = ARGV[1], ARGV[2] == '1', ARGV[3]
local fresh, stale, rescue, took, tags = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], ARGV[8]
local name, channel, message = ARGV[9], ARGV[10], ARGV[11]

local known = redis.call('HMGET', entry, 'by', 'number', 'done', 'fence')
local by, number, done, fence = known[1], tonumber(known[2] or 0), known[3], known[4]
if done == id then
  return fence or ''
end
if is_leased and by ~= id then
  return ''
end
local now = server_ms()
fence = is_leased and string.format('%.0f', number) or rising(number, now)
local ends = math.max(fresh, stale, rescue)
-- A full server refuses this first write: then nothing has been written.
redis.call('SET', value, payload, 'PX', ends)
redis.call('HSET', entry, 'made', now, 'fresh', now + fresh, 'stale', now + stale, 'rescue', now + rescue, 'took', took,
  'fence', fence, 'tags', tags, 'number', fence, 'done', id)
redis.call('HDEL', entry, 'by', 'since', 'until', 'lease', 'failure', 'failed', 'retry', 'negative', 'unkept', 'alone')
redis.call('PEXPIRE', entry, ends)
wake_waiters(waiters, name)
redis.call('DEL', waiters)
if channel ~= '' then
  redis.call('PUBLISH', channel, message .. fence)
end
return fence
