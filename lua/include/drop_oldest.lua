-- Drop at most so many items of a partition that wait for their first run, the oldest first, and tell their adders. Returns their ids.
-- @include entry_id
-- @include is_entry_of
-- @include first_waiting
-- @include note_dropped
local function drop_oldest(queue, most)
  local dropped, gone = {}, 0
  while #dropped < most and gone < 1000 do
    local entry = redis.call('LPOP', queue.front) or redis.call('LPOP', queue.ready)
    if not entry then
      break
    end
    local id = entry_id(entry)
    local record = redis.call('HGET', queue.items, id)
    if record and is_entry_of(entry, record) then -- else it was cancelled
      redis.call('HDEL', queue.items, id)
      redis.call('HINCRBY', queue.counts, queue.partition, -1)
      if queue.max > 0 then
        redis.call('HINCRBY', queue.bytes, queue.partition, -#record)
      end
      dropped[#dropped + 1] = id
    else
      gone = gone + 1
    end
  end
  local first, more = first_waiting(queue.front, queue.items)
  if not first and not more then
    first, more = first_waiting(queue.ready, queue.items)
  end
  if first then
    redis.call('ZADD', queue.since, first, queue.partition)
  elseif not more then
    redis.call('ZREM', queue.since, queue.partition)
    redis.call('HDEL', queue.counts, queue.partition)
    redis.call('HDEL', queue.bytes, queue.partition)
  end
  if #dropped > 0 then
    note_dropped(queue, dropped)
    redis.call('XADD', queue.gone, 'MAXLEN', '~', 10000, '*', 'ids', table.concat(dropped, ' '))
    redis.call('PEXPIRE', queue.gone, queue.ttl)
    redis.call('PUBLISH', queue.gone, '0')
  end
  return dropped
end
