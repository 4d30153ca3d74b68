-- Write back a limiter that has granted something for `time`, and let its keys live until nothing in them counts. The
-- time to live is set for twice as long as needed, so that a busy limiter sets it once a period and not at every call.
-- @include drop_due
local function save_limiter(limiter, time)
  local fields = { 'seen', limiter.now }
  local function set(name, value)
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  local created, conflict = limiter.fresh, false
  for _, log in ipairs(limiter.logs) do
    drop_due(log, limiter.now, limiter.last > limiter.now)
    set('used:' .. log.period, log.used)
    if log.passed ~= log.passed_before then
      set('passed:' .. log.period, log.passed)
    end
    created = created or log.created
    conflict = conflict or log.limit < 0
  end
  if conflict then
    -- Processes with other periods are about: show that these are still in use (see throttle_register).
    for _, log in ipairs(limiter.logs) do
      if log.limit >= 0 then
        set('claimed:' .. log.period, limiter.now)
      end
    end
  end
  if limiter.fresh then
    set('periods', limiter.periods)
  end
  if limiter.stepped then
    set('offset', limiter.offset)
  end
  if limiter.last > limiter.now then
    set('last', limiter.last)
  end
  if limiter.cooling > limiter.now then
    set('cooling', limiter.cooling)
  end

  local needed_until = math.max(time + limiter.longest, limiter.cooling)
  local renew = created or needed_until > limiter.expires
  if renew then
    limiter.expires = math.max(limiter.expires, needed_until + limiter.longest + 1000)
    set('expires', limiter.expires)
  end
  redis.call('HSET', limiter.state, unpack(fields)) -- a config has at most 17 periods
  if renew then
    local ttl = limiter.expires - limiter.now
    redis.call('PEXPIRE', limiter.state, ttl)
    for _, log in ipairs(limiter.logs) do
      redis.call('PEXPIRE', log.key, ttl)
    end
  end
end
