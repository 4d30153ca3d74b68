--[[
monitor_read: what the fleet has measured of some names. Changes nothing.

KEYS[1] state   HASH   the monitor's clock
KEYS[2] names   ZSET   encoded name, with its labels -> when it was last measured (ms)

ARGV[1] prefix  of the keys of minutes and hours
ARGV[2] minutes how many, from the newest on
ARGV[3] hours   likewise
ARGV[4..] wanted (a name as in names; or one without labels and ";*" behind it for all its labels; or "*" for all names)

Returns the time (ms); then for each name that was found itself, its minutes and its hours as they stand, newest first.
]]
-- @include open_partition
local prefix, minutes, hours = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local wanted = {}
for i = 4, #ARGV do
  wanted[ARGV[i]] = true
end
local reply = { string.format('%.0f', open_partition(KEYS[1]).now) }
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if wanted['*'] or wanted[name] or wanted[string.match(name, '^[^;]*') .. ';*'] then
    reply[#reply + 1] = {
      name,
      minutes > 0 and redis.call('LRANGE', prefix .. 'minutes:' .. name, 0, minutes - 1) or {},
      hours > 0 and redis.call('LRANGE', prefix .. 'hours:' .. name, 0, hours - 1) or {}
    }
  end
end
return reply
