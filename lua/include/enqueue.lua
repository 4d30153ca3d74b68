-- Put new items at the end of a partition's ready list, and call a worker when a batch is due sooner for it. What a flush
-- forces out was added before it, so that what comes within the same millisecond counts as a millisecond later.
-- @include hset_all
-- @include rpush_all
-- @include call_worker
local function enqueue(queue, ids, records)
  local stamp = redis.call('HGET', queue.state, 'stamp') or 0
  local added, fields, entries, total = math.max(queue.now, stamp + 1), {}, {}, 0
  local prefix = string.format('%.0f:', added)
  for i, id in ipairs(ids) do
    fields[2 * i - 1], fields[2 * i] = id, records[i]
    entries[i] = prefix .. id
    total = total + #records[i]
  end
  hset_all(queue.items, fields)
  local count = redis.call('HINCRBY', queue.counts, queue.partition, #ids)
  rpush_all(queue.ready, entries)
  if queue.max > 0 then
    total = redis.call('HINCRBY', queue.bytes, queue.partition, total)
  end
  redis.call('ZADD', queue.since, 'NX', added, queue.partition)
  local full = count >= queue.size or (queue.max > 0 and total >= queue.max)
  local crossed = math.floor(count / queue.size) > math.floor((count - #ids) / queue.size)
  call_worker(queue.due, queue.partition, full and queue.now or added + queue.delay, queue.now, full and crossed)
end
