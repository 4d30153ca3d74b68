--[[
monitor_pack: make what stands in the minutes and hours of some names short, and add minutes that are over to their hours. Changes
nothing that a report would say. Safe to repeat.

KEYS[1..] the minutes, then the hours of each name: LISTs, as monitor_flush has them

ARGV[1] ttl  ms after which a name that is not measured any more is forgotten

Returns 1.
]]
-- @include read_slot
-- @include write_slot
-- @include are_long
-- @include repack
-- @include close_minute
for i = 1, #KEYS, 2 do
  local minutes, hours = KEYS[i], KEYS[i + 1]
  local newest = read_slot(redis.call('LINDEX', minutes, 0))
  if newest then
    local is_both, is_long = newest.state == 'both', are_long(newest.packs)
    if is_both then
      close_minute(minutes, hours, ARGV[1], true)
      newest.state = 'open'
    end
    if is_long then
      newest.packs = repack(newest.packs)
    end
    if is_both or is_long then
      redis.call('LSET', minutes, 0, write_slot(newest))
    end
  end
end
return 1
