--[[
cache_delete: forget a key. What is being computed for it will not be kept. Safe to repeat, and allowed on a full server.

KEYS[1] entry    HASH    what is known of the value, and who computes it; lane of a client -> its latest call and reply
KEYS[2] value    STRING  its bytes
KEYS[3] waiters  SET     processes that wait for it

ARGV[1] lane     of the caller
ARGV[2] number   of this call in its lane, rising
ARGV[3] name     under which processes wait
ARGV[4] channel  on which changes are told
ARGV[5] message  what is told, before a fence

Returns 1 where there was a value, else 0; or "stale" for a call that its caller gave up.
]]
-- @include server_ms
-- @include recall
-- @include rising
-- @include keep_reply
-- @include tell_change
local entry, value, waiters = KEYS[1], KEYS[2], KEYS[3]
local lane, number = ARGV[1], tonumber(ARGV[2])
local name, channel, message = ARGV[3], ARGV[4], ARGV[5]

if not tonumber(redis.pcall('HGET', entry, 'number') or 0) then
  redis.call('DEL', entry) -- it is no HASH, and so nothing of ours: to forget the key mends it
end
local known = recall(lane, number)
if known then
  return known
end
local now, micros = server_ms()
local fence = rising(tonumber(redis.call('HGET', entry, 'number') or 0), now, micros)
local existed = redis.call('DEL', value) -- allowed on a full server, and then so is the rest
redis.call('HDEL', entry, 'made', 'fresh', 'stale', 'rescue', 'took', 'fence', 'codec', 'tags', 'by', 'since', 'until', 'lease', 'done',
  'failure', 'failed', 'retry', 'unkept', 'alone')
redis.call('HSET', entry, 'number', fence)
keep_reply(entry, now, lane, number, existed)
redis.call('PEXPIRE', entry, 60000) -- a minute after a call no copy of it is under way
tell_change(waiters, name, channel, message .. fence)
return existed
