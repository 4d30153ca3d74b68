-- The value of a cached key at the server's time `now` (ms). `refused` is the fence of one that the caller knows to be invalidated; `tags`
-- what the keys of tags' versions begin with, "" to leave them to the caller. A value that was kept more than a second in the
-- future does not hold: the clock was set back.
-- @include tags_hold
local function read_value(entry, value, now, refused, tags)
  local known = redis.call('HMGET', entry, 'made', 'fresh', 'took', 'fence', 'tags', 'codec', 'stale', 'rescue')
  local found = { now = now, fence = known[4], tags = known[5], codec = known[6] }
  if found.fence and found.fence ~= refused then
    found.payload, found.made, found.fresh = redis.call('GET', value), tonumber(known[1]), tonumber(known[2])
    found.took, found.stale, found.rescue = tonumber(known[3]), tonumber(known[7]), tonumber(known[8])
    found.valid = found.payload and found.made <= now + 1000 and tags_hold(found.tags, tags)
  end
  return found
end
