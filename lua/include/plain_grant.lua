-- The case that nearly every call is: a known lane, nobody waits, little has come back since the last call, and it fits.
-- A decision then is four commands: two HMGET, TIME, HSET; and for each log in which something has come back, two more: LRANGE,
-- LTRIM. With a lease, while there are others, three more: ZCOUNT, ZADD, HSET.
-- Returns the reply, or nil for every other case, nothing written.
-- @include let_go
-- @include plain_lease
local function plain_grant()
  local key, lane, number, cost, burst, periods = KEYS[1], 'lane:' .. ARGV[1], tonumber(ARGV[2]), ARGV[4], tonumber(ARGV[10]), ARGV[16]
  if ARGV[8] ~= '0' then
    return nil
  end
  local fields, logs = { 'seen', 'offset', 'busy', 'periods', 'expires', lane, 'shared' }, #KEYS - 7
  for i = 1, logs do
    fields[7 + i] = 'log:' .. ARGV[14 + 3 * i]
  end
  local leases = ARGV[12] ~= '0'
  if leases then
    fields[8 + logs], fields[9 + logs] = 'in_use', 'fence'
  end
  local values = redis.call('HMGET', key, unpack(fields)) -- a config has at most 17 logs
  local known = values[6]
  if values[3] or not known or values[4] ~= periods or tonumber(string.match(known, '^%d+')) >= number then
    return nil
  end
  if number % 256 == 0 then
    return nil -- now and then the long way, where silent lanes are swept
  end
  local told = ARGV[14] ~= '-' and redis.call('HMGET', KEYS[4], 'version', 'paused_until') or { '-' }
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  if (told[1] or '0') ~= ARGV[14] or (told[2] and tonumber(told[2]) > now) then
    return nil
  end
  now = now + (values[2] or 0)
  local time, expires = now + 1, tonumber(values[5])
  if time < tonumber(values[1]) then
    return nil
  end

  local lease
  local time_text = string.format('%.0f', time)
  if leases then
    lease = plain_lease(now, time_text, values[8 + logs], values[9 + logs])
    if not lease then
      return nil
    end
  end

  local until_then = lease and lease.ends or time
  local reply, writes = '1 ' .. time_text .. ' ' .. cost, { 'seen', time_text, lane, '' }
  local closed, over, resets = nil, nil, '' -- what is added to lists, and taken from them
  for i = 1, logs do
    local period, precision, limit = tonumber(ARGV[14 + 3 * i]), tonumber(ARGV[15 + 3 * i]), tonumber(ARGV[16 + 3 * i])
    local used, oldest, newest, newest_cost = string.match(values[7 + i] or '0 0 0 0', '^(%S+) (%S+) (%S+) (%S+)$')
    local dropped
    -- A log that only counts lets go once a period, and of all at one glance.
    if oldest + (limit < 1e15 and period or 2 * period) <= now or newest + period <= now then
      used, oldest, dropped = let_go(KEYS[7 + i], period, now, used, newest)
      if not used then
        return nil
      end
      over = over or {}
      over[KEYS[7 + i]] = dropped
    end
    used = used + cost
    local fits = used <= limit or (limit < 0 and values[7])
    if not fits or until_then + period + 60000 > expires or (burst > 0 and period == 1000 and used >= burst) then
      return nil
    end
    local slot = precision == 1 and time or math.ceil(time / precision) * precision
    if not oldest then
      oldest, newest, newest_cost = string.format('%.0f', slot), string.format('%.0f', slot), cost
    elseif tonumber(newest) >= slot then
      newest_cost = newest_cost + cost
    else
      closed = closed or {}
      closed[KEYS[7 + i]] = newest .. ':' .. newest_cost
      newest, newest_cost = precision == 1 and time_text or string.format('%.0f', slot), cost
    end
    local used_text = string.format('%.0f', used)
    writes[3 + 2 * i] = fields[7 + i]
    writes[4 + 2 * i] = used_text .. ' ' .. oldest .. ' ' .. newest .. ' ' .. newest_cost
    reply = reply .. ' ' .. used_text
    if lease then
      resets = string.format('%s %.0f', resets, newest + period - now)
    end
  end
  if lease then
    reply = reply .. ' | 0 0 0 0' .. resets .. ' | ' .. lease.in_use .. ' ' .. lease.fence .. ' ' .. lease.since
    writes[#writes + 1], writes[#writes + 2] = 'in_use', lease.in_use
    writes[#writes + 1], writes[#writes + 2] = 'fence', lease.fence
  end
  writes[4] = ARGV[2] .. ' ' .. time_text .. ' ' .. reply
  if values[7] then
    -- Processes with other periods are about: show that these are still in use, as save_limiter does.
    for i = 1, logs do
      if tonumber(ARGV[16 + 3 * i]) >= 0 then
        writes[#writes + 1] = 'claimed:' .. ARGV[14 + 3 * i]
        writes[#writes + 1] = now
      end
    end
  end
  redis.call('HSET', key, unpack(writes)) -- a config has at most 17 logs
  if lease then
    redis.call('ZADD', KEYS[6], lease.ends, ARGV[3])
    redis.call('HSET', KEYS[7], ARGV[3], lease.ticket)
    if lease.may_be_only then
      redis.call('PEXPIRE', KEYS[6], expires - now + 1000) -- as keep_line does
      redis.call('PEXPIRE', KEYS[7], expires - now + 1000)
    end
  end
  if closed then
    for log, slot in pairs(closed) do
      if redis.call('LPUSH', log, slot) == 1 then
        redis.call('PEXPIRE', log, expires - now)
      end
    end
  end
  if over then
    for log, entries in pairs(over) do
      if entries == 1e15 then
        redis.call('DEL', log)
      elseif entries > 0 then
        redis.call('LTRIM', log, 0, -(entries + 1))
      end
    end
  end
  return reply
end
