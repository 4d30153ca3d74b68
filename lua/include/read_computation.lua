-- What else is known of a cached key: how long its value is served, who computes it, how that failed, and whether nobody is to wait
-- for it, since its value could not be kept lately. What lies more than a
-- second beyond its own length in the future was written before the clock was set back, and is over.
local function read_computation(entry, found)
  local known = redis.call('HMGET', entry, 'stale', 'rescue', 'failure', 'failed', 'retry', 'by', 'since', 'until', 'lease', 'number', 'done',
    'unkept', 'alone')
  local now = found.now
  found.stale, found.rescue = tonumber(known[1]), tonumber(known[2])
  found.failure, found.retry = known[3], tonumber(known[5])
  found.failed = found.failure and now < found.retry and tonumber(known[4]) <= now + 1000
  found.by, found.since, found.ends = known[6], tonumber(known[7]), tonumber(known[8])
  found.leased = found.by and now < found.ends and found.ends <= now + known[9] + 1000
  found.number, found.done = tonumber(known[10] or 0), known[11]
  found.alone = known[13] and now < tonumber(known[13]) and tonumber(known[12]) <= now + 1000
end
