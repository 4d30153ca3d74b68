-- Time and cost of a log's use number `position`, counted from the oldest; the open slot is the last.
-- @include split_use
local function entry_at(log, position)
  local entry = redis.call('LINDEX', log.key, -position)
  if entry then
    return split_use(entry)
  end
  return log.newest, log.newest_cost
end
