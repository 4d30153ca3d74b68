-- Whether an outcome, "<kind> <ms until when it is kept> ...", is still to be known.
local function is_kept(outcome, now)
  return tonumber(string.match(outcome, '^%a+ (%d+)') or 0) > now
end
