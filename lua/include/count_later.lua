-- How many of a log's closed slots end after `time`. Found by halves, so that the length of a line does not matter.
-- @include split_use
local function count_later(log, time)
  local low, high = 0, redis.call('LLEN', log.key)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if split_use(redis.call('LINDEX', log.key, middle)) > time then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end
