-- Put new items at the end of a partition's ready list, and call a worker when a batch is due sooner for it. What stands of them
-- begins with the time of their entry, so that it is never taken for that of another item of the same id. What a flush
-- forces out was added before it, so that what comes within the same millisecond counts as a millisecond later. Notes the
-- highest level in use, so that every worker looks at the lists of all.
-- @include hset_all
-- @include rpush_all
-- @include call_worker
local function enqueue(queue, ids, records)
  local stamp = redis.call('HGET', queue.state, 'stamp') or 0
  local added, fields, entries, total = math.max(queue.now, stamp + 1), {}, {}, 0
  local prefix, stamped = string.format('%.0f:', added), string.format('%.0f ', added)
  for i, id in ipairs(ids) do
    local record = stamped .. records[i]
    fields[2 * i - 1], fields[2 * i] = id, record
    entries[i] = prefix .. id
    total = total + #record
  end
  hset_all(queue.items, fields)
  local count = redis.call('HINCRBY', queue.counts, queue.partition, #ids)
  rpush_all(queue.ready, entries)
  if queue.max > 0 then
    total = redis.call('HINCRBY', queue.bytes, queue.partition, total)
  end
  redis.call('ZADD', queue.since, 'NX', added, queue.partition)
  if queue.level > 0 and queue.level >= tonumber(redis.call('HGET', queue.state, 'levels') or 1) then
    redis.call('HSET', queue.state, 'levels', queue.level + 1)
  end
  local full = count >= queue.size or (queue.max > 0 and total >= queue.max)
  local crossed = math.floor(count / queue.size) > math.floor((count - #ids) / queue.size)
  call_worker(queue.due, queue.partition, full and queue.now or added + queue.delay, queue.now, full and crossed)
end
