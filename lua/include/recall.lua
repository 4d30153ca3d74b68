-- The reply already given to call `number` of this lane, or nil when the call is new.
-- A lane sends one call at a time and numbers them upwards, so its latest reply is all there is to keep. A number below
-- the latest belongs to a call that its caller gave up: it must not take effect any more.
local function recall(lane, number)
  local kept = redis.call('GET', lane)
  if not kept then
    return nil
  end
  local space = string.find(kept, ' ', 1, true)
  local latest = tonumber(string.sub(kept, 1, space - 1))
  if number > latest then
    return nil
  end
  return number == latest and string.sub(kept, space + 1) or 'stale'
end
