-- The minute before the newest of a name is over: add it to its hour. With `packs` there is time to make packs one.
-- @include read_slot
-- @include write_slot
-- @include merge_slot
-- @include are_long
local function close_minute(minutes, hours, ttl, packs)
  local part, hour = read_slot(redis.call('LINDEX', minutes, 1)), read_slot(redis.call('LINDEX', hours, 0))
  if not part or part.state == '' then
    return
  end
  part.packs, part.state = packs and repack(part.packs) or part.packs, ''
  redis.call('LSET', minutes, 1, write_slot(part))
  part.slot = math.floor(part.slot / 60)
  if hour and hour.slot >= part.slot then
    merge_slot(hour, part)
    hour.packs = packs and are_long(hour.packs) and repack(hour.packs) or hour.packs
    redis.call('LSET', hours, 0, write_slot(hour))
  else
    if hour and packs then
      hour.packs = repack(hour.packs)
      redis.call('LSET', hours, 0, write_slot(hour))
    end
    redis.call('LPUSH', hours, write_slot(part))
    redis.call('LTRIM', hours, 0, 24)
  end
  redis.call('PEXPIRE', hours, ttl)
end
