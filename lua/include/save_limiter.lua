-- Write a limiter back, and let its keys live until nothing in them counts, and then for the minute that lanes are remembered.
-- The time to live is set for twice as long as needed, so that a busy limiter sets it once a period and not at every call.
-- `granted` is the time of what was just granted, nil when nothing was.
-- @include count_over
-- @include drop_unclaimed
-- @include look_again
-- @include keep_line
local function save_limiter(limiter, granted)
  local now, line = limiter.now, limiter.last > limiter.now
  local fields = { 'seen', now + 1, 'offset', limiter.offset }
  local function set(name, value)
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  local keep = limiter.longest + 60000
  local needed_until = math.max(granted or now, limiter.last, limiter.cooling) + keep
  local is_due = needed_until > limiter.expires
  if is_due and drop_unclaimed(limiter) then
    set('periods', limiter.periods)
  end
  local renew, passed = limiter.fresh or is_due, false
  for _, log in ipairs(limiter.logs) do
    if log.next then
      log.drops = count_over(log, now, line)
      log.passed = log.passed - log.drops
    end
    if log.stale and not log.next_time then
      look_again(log) -- all that was there is passed, and the oldest of what was logged since is not known yet
    end
    if log.next or log.over then
      log.oldest = log.next_time or log.newest
    end
    if not log.dropped then
      set('log:' .. log.period, string.format('%.0f %.0f %.0f %.0f', log.used, log.oldest, log.newest, log.newest_cost))
      set('passed:' .. log.period, log.passed)
      passed = passed or log.passed > 0
    end
    renew = renew or log.created
  end
  if limiter.fresh then
    set('periods', limiter.periods)
    set('since', math.max(limiter.since, now + 1))
  end
  if limiter.slots > 0 or limiter.leased then
    set('in_use', limiter.in_use)
    set('fence', string.format('%.0f', limiter.fence))
  end
  for name, value in pairs(limiter.changes) do
    set(name, value)
  end
  if limiter.head then
    set('head', limiter.head)
  end
  if limiter.shared then
    -- Show that these periods are still in use.
    for _, log in ipairs(limiter.logs) do
      if log.limit >= 0 then
        set('claimed:' .. log.period, now)
      end
    end
  end
  local busy = line or passed or limiter.cooling > now or limiter.lined
  if busy or limiter.busy then
    set('last', limiter.last)
    set('cooling', limiter.cooling)
    set('cooled', limiter.cooled)
    set('busy', 1)
  end

  if renew then
    limiter.expires = math.max(limiter.expires, needed_until + keep)
    set('expires', limiter.expires)
  end
  -- A full server refuses HSET, and LPUSH before it: then nothing has been written. What only removes comes after.
  redis.call('HSET', limiter.state, unpack(fields)) -- a config has at most 17 logs
  for _, log in ipairs(limiter.logs) do
    if log.over or log.dropped then
      redis.call('DEL', log.key)
    elseif log.drops and log.drops > 0 then
      redis.call('LTRIM', log.key, 0, -(log.drops + 1))
    end
  end
  if limiter.head == false then
    redis.call('HDEL', limiter.state, 'head')
  end
  if limiter.busy and not busy and redis.call('EXISTS', limiter.holes) == 0 then
    redis.call('HDEL', limiter.state, 'busy', 'last', 'cooling', 'cooled')
  end
  if renew and limiter.told then
    redis.call('PEXPIRE', limiter.control, 2592000000) -- a month after the last use
  end
  if renew then
    local ttl = limiter.expires - now
    redis.call('PEXPIRE', limiter.state, ttl)
    redis.call('PEXPIRE', limiter.holes, ttl)
    for _, log in ipairs(limiter.logs) do
      redis.call('PEXPIRE', log.key, ttl)
    end
    keep_line(limiter)
  end
end
