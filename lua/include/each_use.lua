-- Call `visit(time, cost)` for every use in a log, newest first, until it returns true.
-- @include split_use
local function each_use(key, visit)
  local index, size = 0, 256
  repeat
    local entries = redis.call('LRANGE', key, index, index + size - 1)
    for _, entry in ipairs(entries) do
      if visit(split_use(entry)) then
        return
      end
    end
    index = index + size
  until #entries < size
end
