-- Add to the newest minute of a name, or begin another one. Returns whether there is something to be packed now.
-- @include write_slot
-- @include merge_slot
-- @include are_long
-- @include close_minute
local function add_to_minute(names, now, ttl, part)
  local newest = part.newest
  if newest and newest.slot >= part.slot then
    merge_slot(newest, part)
    redis.call('LSET', part.minutes, 0, write_slot(newest))
    return newest.state == 'both' or are_long(newest.packs)
  end
  if newest and newest.state == 'both' then
    close_minute(part.minutes, part.hours, ttl) -- nobody has packed it
  end
  part.state = newest and 'both' or 'open'
  redis.call('LPUSH', part.minutes, write_slot(part))
  redis.call('LTRIM', part.minutes, 0, 61)
  redis.call('PEXPIRE', part.minutes, ttl)
  redis.call('ZADD', names, now, part.name)
  if string.find(part.name, ';', 1, true) then
    redis.call('ZADD', part.sets, now, part.name)
    redis.call('ZREMRANGEBYSCORE', part.sets, '-inf', now - ttl)
    redis.call('PEXPIRE', part.sets, ttl)
  end
  return newest
end
