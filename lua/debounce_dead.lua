--[[
debounce_dead: the dead letters of a partition, oldest first, and about 4 MiB of them. Changes nothing. The keys of the letters are
built from the tag that they share with KEYS.

KEYS[1] dead   ZSET    window id -> when it died (ms)

ARGV[1] start  index of the first, from 0
ARGV[2] count  at most 100

Returns for each an array: window id, encoded key, payload, collect, attempts, error, when it died (ms), number of collected payloads.
]]
-- @include max_call_bytes
local dead, start, count = KEYS[1], ARGV[1], ARGV[2]
local rows, bytes = {}, 0
for i, window in ipairs(redis.call('ZRANGE', dead, start, start + count - 1)) do
  if bytes >= max_call_bytes() then
    break
  end
  local letter = dead .. ':' .. window
  local known = redis.call('HMGET', letter, 'key', 'payload', 'collect', 'attempts', 'error', 'died')
  local collected = redis.call('LLEN', letter .. ':items')
  bytes = bytes + #(known[2] or '')
  rows[i] = { window, known[1] or '', known[2] or '', known[3] or '', known[4] or '0', known[5] or '', known[6] or '0', collected }
end
return rows
