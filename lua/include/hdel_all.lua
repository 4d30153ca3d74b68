-- Delete fields of a hash: in parts, since a call takes only so many.
local function hdel_all(key, fields)
  for first = 1, #fields, 1000 do
    redis.call('HDEL', key, unpack(fields, first, math.min(first + 999, #fields)))
  end
end
