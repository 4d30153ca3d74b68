-- Call `visit(time, cost, index)` for every use in a log, newest first, until it returns true. Index 0 is the open slot,
-- which the state keeps; the others are those of the list, from 1.
-- @include split_use
local function each_use(log, visit)
  if log.newest > 0 and visit(log.newest, log.newest_cost, 0) then
    return
  end
  local index, size = 0, 256
  repeat
    local entries = redis.call('LRANGE', log.key, index, index + size - 1)
    for i, entry in ipairs(entries) do
      local time, cost = split_use(entry)
      if visit(time, cost, index + i) then
        return
      end
    end
    index = index + size
  until #entries < size
end
