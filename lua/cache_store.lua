--[[
cache_store: keep the value of a computation, while its lease is not another's. Safe to repeat.

KEYS[1] entry    HASH    what is known of the value, and who computes it; lane of a client -> its latest call and reply
KEYS[2] value    STRING  its bytes
KEYS[3] waiters  SET     processes that wait for it

ARGV[1] id       of the computation
ARGV[2] payload  as bytes
ARGV[3] fresh    ms that it is fresh
ARGV[4] stale    ms that it is served while it is refreshed
ARGV[5] rescue   ms that it is served where that fails
ARGV[6] took     ms that its computation took
ARGV[7] codec    in which the bytes are
ARGV[8] tags     of the value, "tag=version tag=version", at most 16
ARGV[9] name     under which processes wait
ARGV[10] channel  on which changes are told
ARGV[11] message  what is told, before the fence

Returns the value's fence, "" where the lease was lost: then nothing is changed.
]]
-- @include server_ms
-- @include keep_value
-- @include tell_change
local entry, value, waiters = KEYS[1], KEYS[2], KEYS[3]
local id, payload, took, codec, tags = ARGV[1], ARGV[2], ARGV[6], ARGV[7], ARGV[8]
local lives = { fresh = tonumber(ARGV[3]), stale = tonumber(ARGV[4]), rescue = tonumber(ARGV[5]) }
local name, channel, message = ARGV[9], ARGV[10], ARGV[11]

local known = redis.call('HMGET', entry, 'by', 'number', 'done', 'fence')
local by, fence, done = known[1], known[2], known[3]
if done == id then
  return known[4] or ''
end
if by ~= id then
  return ''
end
keep_value(entry, value, payload, server_ms(), lives, took, fence, codec, tags)
redis.call('HSET', entry, 'done', id)
tell_change(waiters, name, channel, message .. fence)
return fence
