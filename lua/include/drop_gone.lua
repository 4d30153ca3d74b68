-- Entries of items that are gone stay in their list until they are its head, and they are not to pile up behind one that waits:
-- where they are more than those of items that wait, and 1,000, some are looked at. What is left of these goes to the end of a
-- list that is served before. When all have gone there it is the list, and the next round begins.
-- @include entry_id
-- @include rpush_all
local function drop_gone(front, ready, items, waiting, some)
  local length = redis.call('LLEN', ready)
  if length + redis.call('LLEN', front) <= 2 * waiting + 1000 then
    return
  end
  local left = {}
  for _, entry in ipairs(redis.call('LRANGE', ready, 0, some - 1)) do
    if redis.call('HEXISTS', items, entry_id(entry)) == 1 then
      left[#left + 1] = entry
    end
  end
  redis.call('LTRIM', ready, some, -1)
  rpush_all(front, left)
  if length <= some and redis.call('EXISTS', front) == 1 then
    redis.call('RENAME', front, ready)
  end
end
