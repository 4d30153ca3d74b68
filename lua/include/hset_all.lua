-- Set fields of a hash to values, which take turns in the list: in parts, since a call takes only so many.
local function hset_all(key, pairs_of)
  for first = 1, #pairs_of, 1000 do
    redis.call('HSET', key, unpack(pairs_of, first, math.min(first + 999, #pairs_of)))
  end
end
