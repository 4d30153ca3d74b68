--[[
throttle_tell: tell the whole fleet something about a limiter: another config, a pause, the end of either. Who waits hears of
it at once. Safe to repeat.

KEYS[1] control  HASH    what the fleet was told: another config, a pause

ARGV[1] what       "update", "pause", "resume", or "" to ask what it was told
ARGV[2] value      of update, the fields as JSON, "" to take back what was told; of pause, its ms

Returns "<version> <ms of pause left> <fields as JSON>", version 0 and no fields where the fleet was told no other config.
]]
-- @include server_ms
local control, what, value = KEYS[1], ARGV[1], ARGV[2]
local now = server_ms()

local told = redis.call('HMGET', control, 'version', 'override', 'paused_until', 'paused_at')
local version, override = told[1] or '0', told[2] or ''
local pause = 0
if told[3] and now + 1000 >= tonumber(told[4]) then
  pause = math.max(0, told[3] - now)
end
if what == 'update' and value == '' then
  version, override = '0', ''
  redis.call('HDEL', control, 'version', 'override')
elseif what == 'update' and value ~= override then
  version, override = string.format('%.0f', math.max(now, version + 1)), value
  redis.call('HSET', control, 'version', version, 'override', override)
elseif what == 'pause' then
  pause = math.max(pause, tonumber(value)) -- a shorter one does not end a longer one
  redis.call('HSET', control, 'paused_at', now, 'paused_until', now + pause)
elseif what == 'resume' then
  pause = 0
  redis.call('HDEL', control, 'paused_at', 'paused_until')
end
if what ~= '' then
  local month = 2592000000 -- what was told is forgotten a month after the last use of the limiter
  redis.call('PEXPIRE', control, version == '0' and pause + 60000 or month)
  redis.call('PUBLISH', control, what)
end
return string.format('%s %.0f %s', version, pause, override)
