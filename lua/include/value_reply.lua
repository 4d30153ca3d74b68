-- A value as it is returned: what it is; its bytes, fence, age, ms that it is fresh yet, ms until it is of no use to anybody; its tags.
local function value_reply(status, found)
  local ends = math.max(found.fresh, found.stale, found.rescue)
  return { status, found.payload, found.fence, math.max(0, found.now - found.made), math.max(0, found.fresh - found.now),
    math.max(0, ends - found.now), found.tags }
end
