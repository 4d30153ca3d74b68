--[[
cache_tags: the versions of tags. Safe to repeat.

KEYS[1..] version  STRING  of each tag, at most 16

ARGV[1] keep  ms for which they are kept from now on, and made where there is none; 0 to change nothing

Returns for each its version, "" where there is none: then no value of that tag holds.
]]
-- @include server_ms
-- @include rising
local keep = tonumber(ARGV[1])

local versions = {}
local now, micros = server_ms()
for i, key in ipairs(KEYS) do
  versions[i] = redis.call('GET', key) or ''
  if versions[i] == '' and keep > 0 then
    -- A full server refuses this first write: then no value of the tag is kept either.
    versions[i] = rising(0, now, micros)
    redis.call('SET', key, versions[i], 'PX', keep)
  end
end
if keep > 0 then
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, keep)
  end
end
return versions
