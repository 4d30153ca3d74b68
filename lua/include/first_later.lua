-- When the first item of those that run again later is due (ms), nil where there is none; entries of items that are gone are
-- dropped on the way, at most 1,000.
-- @include entry_id
local function first_later(later, items)
  for _ = 1, 1000 do
    local head = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')
    if not head[1] or redis.call('HEXISTS', items, entry_id(head[1])) == 1 then
      return tonumber(head[2] or nil)
    end
    redis.call('ZREM', later, head[1])
  end
  return 0
end
