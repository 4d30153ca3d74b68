-- Put values at the end of a list: in parts, since a call takes only so many.
local function rpush_all(key, values)
  for first = 1, #values, 1000 do
    redis.call('RPUSH', key, unpack(values, first, math.min(first + 999, #values)))
  end
end
