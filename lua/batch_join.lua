--[[
batch_join: a process uses a batcher: note how it is configured, and learn of another one that is so otherwise. Asked again now
and then.

KEYS[1] state  HASH    counters, and what the fleet was told
KEYS[2] gone   STREAM  ids that ended without a run

ARGV[1] config  as text
ARGV[2] strict  1 if it is not to be noted where it differs, else 0

Returns a list: the config of who used it within the last minute, where it differs, else ""; and the id of the latest entry
of the stream, "0-0" for none.
]]
-- @include logical_ms
-- @include keep_state
local state, gone, config = KEYS[1], KEYS[2], ARGV[1]
local now, offset = logical_ms(state)

local seen, other = string.match(redis.call('HGET', state, 'config') or '', '^(%d+) (.*)$')
local differs = other and other ~= config and seen + 60000 > now
if not differs or ARGV[2] == '0' then
  redis.call('HSET', state, 'config', string.format('%.0f ', now) .. config)
  keep_state(state, now, offset)
end
local latest = redis.call('XREVRANGE', gone, '+', '-', 'COUNT', 1)[1]
return { differs and other or '', latest and latest[1] or '0-0' }
