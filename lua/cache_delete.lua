--[[
cache_delete: forget a key. What is being computed for it will not be kept. Safe to repeat.

KEYS[1] entry    HASH    what is known of the value, and who computes it
KEYS[2] value    STRING  its bytes
KEYS[3] waiters  SET     processes that wait for it

ARGV[1] name     under which processes wait
ARGV[2] channel  on which changes are told
ARGV[3] message  what is told, before a fence

Returns 1 where there was a value, else 0.
]]
-- @include server_ms
-- @include rising
-- @include wake_waiters
local entry, value, waiters = KEYS[1], KEYS[2], KEYS[3]
local name, channel, message = ARGV[1], ARGV[2], ARGV[3]

local number = tonumber(redis.call('HGET', entry, 'number') or 0)
local existed = redis.call('DEL', value)
redis.call('DEL', entry)
wake_waiters(waiters, name)
redis.call('DEL', waiters)
redis.call('PUBLISH', channel, message .. rising(number, server_ms()))
return existed
