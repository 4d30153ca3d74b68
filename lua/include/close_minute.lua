-- The minute at `index` of a name is over: make its packs one, if there is time for it, and add it to its hour.
-- @include read_slot
-- @include write_slot
-- @include merge_slot
local function close_minute(minutes, index, hours, part, work)
  part.packs, part.state = work.left > 0 and repack(part.packs, work) or part.packs, ''
  redis.call('LSET', minutes, index, write_slot(part))
  part.slot = math.floor(part.slot / 60)
  local hour = read_slot(redis.call('LINDEX', hours, 0))
  if hour and hour.slot >= part.slot then
    merge_slot(hour, part, work)
    redis.call('LSET', hours, 0, write_slot(hour))
    return
  end
  if hour then
    hour.packs = repack(hour.packs, work)
    redis.call('LSET', hours, 0, write_slot(hour))
  end
  redis.call('LPUSH', hours, write_slot(part))
  redis.call('LTRIM', hours, 0, 24)
end
