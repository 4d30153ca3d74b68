-- The keys of a window's outcome, out of the tag that all keys of the partition share.
local function outcome_keys(at, window)
  local done = string.sub(at.due, 1, -4) .. 'done:' .. window
  return { window = at.window, done = done, waiters = done .. ':waiters' }
end
