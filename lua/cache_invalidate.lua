--[[
cache_invalidate: raise a tag's version, so that no value that was computed before holds any more. Repeated, it raises it again. Allowed on a
full server.

KEYS[1] version  STRING  the tag's version

ARGV[1] keep     ms that it is kept: longer than any value lives
ARGV[2] channel  on which changes are told
ARGV[3] message  what is told

Returns the version.
]]
-- @include server_ms
-- @include rising
local version = rising(tonumber(redis.call('GET', KEYS[1]) or 0), server_ms())
redis.call('PEXPIRE', KEYS[1], ARGV[1]) -- allowed on a full server, and then so is the rest
redis.call('SET', KEYS[1], version, 'PX', ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return version
