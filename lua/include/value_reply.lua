-- A value as it is returned: its bytes; and in a line what it is, its fence, its age (ms), ms that it is fresh yet and that it
-- is of use to anybody, its codec, its tags.
local function value_reply(status, found)
  local age, fresh = math.max(0, found.now - found.made), math.max(0, found.fresh - found.now)
  local ends = math.max(0, math.max(found.fresh, found.stale, found.rescue) - found.now)
  return {
    found.payload,
    string.format('%s %s %.0f %.0f %.0f %s %s', status, found.fence, age, fresh, ends, found.codec or '', found.tags),
  }
end
