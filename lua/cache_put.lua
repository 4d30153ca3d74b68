--[[
cache_put: keep a value that a caller sets, whoever computes one. Safe to repeat.

KEYS[1] entry    HASH    what is known of the value, and who computes it; lane of a client -> its latest call and reply
KEYS[2] value    STRING  its bytes
KEYS[3] waiters  SET     processes that wait for it

ARGV[1] lane     of the caller
ARGV[2] number   of this call in its lane, rising
ARGV[3] payload  as bytes
ARGV[4] fresh    ms that it is fresh
ARGV[5] stale    ms that it is served while it is refreshed
ARGV[6] rescue   ms that it is served where that fails
ARGV[7] codec    in which the bytes are
ARGV[8] tags     of the value, "tag=version tag=version", at most 16
ARGV[9] name     under which processes wait
ARGV[10] channel  on which changes are told
ARGV[11] message  what is told, before the fence

Returns the value's fence; or "stale" for a call that its caller gave up.
]]
-- @include server_ms
-- @include recall
-- @include rising
-- @include keep_value
-- @include keep_reply
-- @include tell_change
local entry, value, waiters = KEYS[1], KEYS[2], KEYS[3]
local lane, number, payload, codec, tags = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[7], ARGV[8]
local lives = { fresh = tonumber(ARGV[4]), stale = tonumber(ARGV[5]), rescue = tonumber(ARGV[6]) }
local name, channel, message = ARGV[9], ARGV[10], ARGV[11]

local known = recall(lane, number)
if known then
  return known
end
local now, micros = server_ms()
local fence = rising(tonumber(redis.call('HGET', entry, 'number') or 0), now, micros)
keep_value(entry, value, payload, now, lives, 0, fence, codec, tags)
keep_reply(entry, now, lane, number, fence)
tell_change(waiters, name, channel, message .. fence)
return fence
