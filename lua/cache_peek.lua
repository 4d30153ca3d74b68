--[[
cache_peek: how a key stands. Changes nothing.

KEYS[1] entry  HASH    what is known of the value, and who computes it
KEYS[2] value  STRING  its bytes

ARGV[1] tags  what the keys of tags' versions begin with, "" on a Cluster

Returns of the value: 1 where there is one that holds, its bytes, age (ms), fresh for (ms), of use for (ms), ms that its computation took, fence, tags;
of the computation under way: id, since when (ms); of the failure that is kept: text, ms until it is tried again. 0 and "" for what there is not.
]]
-- @include server_ms
-- @include read_entry
-- @include value_reply
local now = server_ms()
local found = read_entry(KEYS[1], KEYS[2], now, '', ARGV[1])
local reply = { 0, 0, 0, 0, 0, 0, '', '' }
if found.valid then
  local described = value_reply('', found)
  reply = { 1, #found.payload, described[4], described[5], described[6], found.took, found.fence, found.tags }
end
reply[9] = found.leased and found.by or ''
reply[10] = found.leased and math.max(0, now - found.since) or 0
reply[11] = found.failed and found.failure or ''
reply[12] = found.failed and found.retry - now or 0
return reply
