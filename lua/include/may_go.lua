-- When a permit can be had: now, or within the ms that a place may be given `ahead`. Returns its time; or nil, the ms after
-- which to ask again, and what it waits for: as find_place, or -3 for a lease.
-- @include try_place
-- @include wait_for_slots
local function may_go(limiter, cost, weight, ahead)
  if limiter.slots > 0 and weight > 0 and limiter.in_use + weight > limiter.slots then
    return nil, wait_for_slots(limiter), -3
  end
  local latest = limiter.now + ahead
  local time, reason = try_place(limiter, cost, latest)
  if time > latest then
    return nil, time - latest, reason
  end
  return time, nil, reason
end
