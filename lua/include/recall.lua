-- The reply already given to call `number` of this lane, or nil when the call is new.
-- A lane sends one call at a time and numbers them upwards, so its latest reply is all there is to keep. A number below
-- the latest belongs to a call that its caller gave up: it must not take effect any more.
local function recall(lane, number)
  local kept = redis.call('HGET', KEYS[1], 'lane:' .. lane)
  if not kept then
    return nil
  end
  local latest, reply = string.match(kept, '^(%d+) %d+ (.*)$')
  latest = tonumber(latest)
  if number > latest then
    return nil
  end
  return number == latest and reply or 'stale'
end
