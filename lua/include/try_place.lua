-- As find_place; but where that is later than `latest`, the cursors are left where they were.
-- @include find_place
-- @include look_again
local function try_place(limiter, cost, latest)
  local before = {}
  for i, log in ipairs(limiter.logs) do
    before[i] = { used = log.used, passed = log.passed }
  end
  local time, reason = find_place(limiter, cost)
  if time > latest then
    for i, log in ipairs(limiter.logs) do
      if log.passed ~= before[i].passed then
        log.used, log.passed = before[i].used, before[i].passed
        look_again(log)
      end
    end
  end
  return time, reason
end
