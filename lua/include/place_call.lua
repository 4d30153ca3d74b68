-- Where a call belongs, by lodash's rules with an exact cap: into the window that is pending, into a new one, or into none.
-- `fresh` is the first call after `wait` of quiet, or after `max_wait` without a run. Changes nothing.
-- Returns a table: `status`, "pending", "leading" (to be run now) or "dropped" (the leading run has covered it); `window`,
-- nil for one that is to be opened; `number` of the call in it, `due` and `cap` (ms); `edge`; `last_run` where it begins a
-- burst; `sooner`, whether the window is due sooner than it was; `runs`, whether a run of the key is under way; `wait_before`.
local function place_call(part, window, wait, max_wait, leading, trailing)
  local now = part.now
  local known = redis.call('HMGET', window, 'window', 'due', 'cap', 'calls', 'last_call', 'last_run', 'lead', 'run', 'bytes', 'collect', 'wait')
  local last_call, last_run = tonumber(known[5] or nil), tonumber(known[6] or 0)
  local placed = { window = known[1] or nil, runs = known[8], bytes = tonumber(known[9] or 0), collect = known[10], wait_before = known[11] }
  if placed.window then
    placed.status, placed.number = 'pending', known[4] + 1
    placed.due, placed.cap = tonumber(known[2]), tonumber(known[3] or nil)
    if placed.due > now then
      local due = math.min(now + wait, placed.cap or now + wait)
      placed.sooner = due < placed.due
      placed.due = due
    end
    return placed
  end
  local fresh = not last_call or now - last_call >= wait or (max_wait >= 0 and now - last_run >= max_wait)
  if not fresh and not trailing then
    if known[7] then
      placed.status, placed.window, placed.number = 'dropped', known[7], 0
      return placed
    end
    fresh = true
  end
  placed.number, placed.sooner, placed.bytes, placed.collect = 1, true, 0, nil
  if fresh then
    last_run = now
    placed.last_run = now
  end
  if fresh and leading then
    placed.status = placed.runs and 'pending' or 'leading'
    placed.edge, placed.due, placed.cap = 'leading', now, now
    return placed
  end
  placed.status, placed.edge = 'pending', 'trailing'
  placed.due = now + wait
  if max_wait >= 0 then
    placed.cap = last_run + max_wait
    placed.due = math.min(placed.due, placed.cap)
  end
  return placed
end
