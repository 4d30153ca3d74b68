-- What is known of a cached key at the server's time `now` (ms). `refused` is the fence of a value that the caller knows to be
-- invalidated; `tags` what the keys of tags' versions begin with, "" to leave them to the caller. What lies more than a second in the
-- future was written before the clock was set back: such a value does not hold, and such a lease or failure is over.
-- @include tags_hold
local function read_entry(entry, value, now, refused, tags)
  local known = redis.call('HMGET', entry, 'made', 'fresh', 'stale', 'rescue', 'took', 'fence', 'tags',
    'failure', 'failed', 'retry', 'negative', 'by', 'since', 'until', 'lease', 'number', 'done')
  local found = { now = now, made = tonumber(known[1]), fresh = tonumber(known[2]), stale = tonumber(known[3]),
    rescue = tonumber(known[4]), took = tonumber(known[5]), fence = known[6], tags = known[7] or '', failure = known[8],
    retry = tonumber(known[10]), negative = known[11] == '1', by = known[12], since = tonumber(known[13]),
    ends = tonumber(known[14]), number = tonumber(known[16] or 0), done = known[17] }
  found.payload = found.fence and redis.call('GET', value)
  found.valid = found.payload and found.made <= now + 1000 and found.fence ~= refused and tags_hold(found.tags, tags)
  found.leased = found.by and now < found.ends and found.ends <= now + known[15] + 1000
  found.failed = found.failure and now < found.retry and tonumber(known[9]) <= now + 1000
  return found
end
