-- Add to the minute that goes on, or begin it. Returns the one before it, where that has to be closed yet.
-- @include read_slot
-- @include write_slot
-- @include merge_slot
-- @include close_minute
local function add_to_minute(minutes, hours, part, work)
  local newest, before = read_slot(redis.call('LINDEX', minutes, 0)), read_slot(redis.call('LINDEX', minutes, 1))
  if newest and newest.slot >= part.slot then
    merge_slot(newest, part, work)
    redis.call('LSET', minutes, 0, write_slot(newest))
    return before and before.state == 'open' and before
  end
  if before and before.state == 'open' then
    close_minute(minutes, 1, hours, before, work)
  end
  redis.call('LPUSH', minutes, write_slot(part))
  redis.call('LTRIM', minutes, 0, 61)
  return newest
end
