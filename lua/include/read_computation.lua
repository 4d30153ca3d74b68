-- What else is known of a cached key: who computes it, how that failed, and whether nobody is to wait
-- for it, since its value could not be kept lately. What lies more than a
-- second beyond its own length in the future was written before the clock was set back, and is over.
local function read_computation(entry, found)
  local known = redis.call('HMGET', entry, 'failure', 'failed', 'retry', 'by', 'since', 'until', 'lease', 'number', 'done',
    'unkept', 'alone')
  local now = found.now
  found.failure, found.retry = known[1], tonumber(known[3])
  found.failed = found.failure and now < found.retry and tonumber(known[2]) <= now + 1000
  found.by, found.since, found.ends = known[4], tonumber(known[5]), tonumber(known[6])
  found.leased = found.by and now < found.ends and found.ends <= now + known[7] + 1000
  found.number, found.done = tonumber(known[8] or 0), known[9]
  found.alone = known[11] and now < tonumber(known[11]) and tonumber(known[10]) <= now + 1000
end
