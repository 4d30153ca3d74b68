--[[
cache_tags: the versions of tags. Changes nothing.

KEYS[1..] version  STRING  of each tag, at most 16

Returns for each its version, "0" where it was never invalidated.
]]
local versions = {}
for i, key in ipairs(KEYS) do
  versions[i] = redis.call('GET', key) or '0'
end
return versions
