--[[
eviction_policy: which keys the server gives up when it is full. Changes nothing.

KEYS[1] key  any of those that are asked about; it says which server of a Cluster

Returns the server's maxmemory-policy; "" where nothing is evicted, or the caller may not know.
]]
local info = redis.pcall('INFO', 'memory')
if info.err or string.match(info, '\nmaxmemory:0\r') then
  return ''
end
local policy = string.match(info, 'maxmemory_policy:(%S+)') or ''
return policy ~= 'noeviction' and policy or ''
