-- The reply in what is `kept` of a lane, where it is that to call `number`; nil when the call is new. A number below the latest
-- belongs to a call that its caller gave up: it must not take effect any more.
local function answer_of(kept, number)
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
