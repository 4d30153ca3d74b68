-- When the first item of those that run again later is due (ms), nil where there is none; entries of items that are gone are
-- dropped on the way, at most 1,000.
-- @include entry_id
-- @include is_entry_of
local function first_later(later, items)
  for _ = 1, 1000 do
    local head = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')
    local record = head[1] and redis.call('HGET', items, entry_id(head[1]))
    if not head[1] or (record and is_entry_of(head[1], record)) then
      return tonumber(head[2] or nil)
    end
    redis.call('ZREM', later, head[1])
  end
  return 0
end
