-- What became of an item so far: attempts that failed; deliveries lost with their worker; runs that are to be repeated and
-- do not count; since when (ms, 0 for never) there were such; and the fence of the batch that was settled last, 0 for none.
local function read_tries(text)
  local attempts, lost, repeats, since, by = string.match(text or '', '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  return {
    attempts = tonumber(attempts or 0), lost = tonumber(lost or 0), repeats = tonumber(repeats or 0), since = tonumber(since or 0),
    by = by or '0',
  }
end
