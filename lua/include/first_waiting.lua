-- When the first item of a list was added (ms), nil where none waits; entries of items that are gone are dropped on the way,
-- at most 1,000, and then the second value is true: there may be more.
-- @include entry_id
-- @include entry_ms
-- @include is_entry_of
local function first_waiting(list, items)
  for _ = 1, 1000 do
    local entry = redis.call('LINDEX', list, 0)
    if not entry then
      return nil
    end
    local record = redis.call('HGET', items, entry_id(entry))
    if record and is_entry_of(entry, record) then
      return entry_ms(entry)
    end
    redis.call('LPOP', list)
  end
  return nil, true
end
