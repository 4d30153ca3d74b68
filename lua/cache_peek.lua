--[[
cache_peek: how a key stands. Changes nothing.

KEYS[1] entry  HASH    what is known of the value, and who computes it
KEYS[2] value  STRING  its bytes

ARGV[1] tags  what the keys of tags' versions begin with, "" on a Cluster

Returns of the value: its fence, "" where there is none that holds; its size, age (ms), ms that it is fresh yet and that it is of use to anybody, ms
that its computation took, tags. Of the computation under way: id, and its age (ms). Of the failure that is kept: text, and ms
until it is tried again. 0 and "" for what there is not.
]]
-- @include server_ms
-- @include read_value
-- @include read_computation
local now = server_ms()
local found = read_value(KEYS[1], KEYS[2], now, '', ARGV[1])
read_computation(KEYS[1], found)
local reply = { '', 0, 0, 0, 0, 0, '' }
if found.valid then
  local ends = math.max(found.fresh, found.stale, found.rescue)
  local function left(time)
    return math.max(0, time - now)
  end
  reply = { found.fence, #found.payload, math.max(0, now - found.made), left(found.fresh), left(ends), found.took, found.tags }
end
reply[8] = found.leased and found.by or ''
reply[9] = found.leased and math.max(0, now - found.since) or 0
reply[10] = found.failed and found.failure or ''
reply[11] = found.failed and found.retry - now or 0
return reply
