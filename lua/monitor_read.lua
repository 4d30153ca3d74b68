--[[
monitor_read: what the fleet has measured of some names. Changes nothing, and costs nothing for names that are not asked for.

KEYS[1] state   HASH   the monitor's clock
KEYS[2..] ZSET for each that is wanted: the label sets of all names of its base, or names, as monitor_flush has them

ARGV[1] prefix  of the keys of minutes and hours, which stand in the slot of all these
ARGV[2] minutes how many, from the newest on
ARGV[3] hours   likewise
ARGV[4] most    names whose minutes and hours are read, so that no call takes long
ARGV[5..] wanted (a name as in names; or one without labels and ";*" behind it for all its labels; or "*" for all names)

Returns the time (ms); then for each name that was found itself, its minutes and its hours as they stand, newest first; of
those beyond `most` the name alone.
]]
-- @include open_partition
local prefix, minutes, hours, left = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local reply = { string.format('%.0f', open_partition(KEYS[1]).now) }

local function read(name)
  if left == 0 then
    reply[#reply + 1] = name
    return
  end
  left = left - 1
  local found = {
    name,
    redis.call('LRANGE', prefix .. 'minutes:' .. name, 0, minutes - 1),
    hours > 0 and redis.call('LRANGE', prefix .. 'hours:' .. name, 0, hours - 1) or {},
  }
  if #found[2] > 0 then
    reply[#reply + 1] = found
  end
end

for i = 5, #ARGV do
  local base = ARGV[i] == '*' and '' or string.match(ARGV[i], '^([^;]*);%*$')
  if base ~= '' then
    read(base or ARGV[i])
  end
  if base then
    for _, name in ipairs(redis.call('ZRANGE', KEYS[i - 3], 0, -1)) do
      read(name)
    end
  end
end
return reply
