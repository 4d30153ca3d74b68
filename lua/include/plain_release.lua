-- The release that nearly every one is: a known lane, nobody waits, nothing goes back to the limits, and the lease has not ended.
-- It is seven commands: HMGET, TIME, HGET, ZSCORE, ZREM, HDEL, HSET. No log is looked at, nor what the fleet was told: there is
-- nobody to serve. Returns the reply, or nil for every other case, nothing written.
local function plain_release()
  local key, lane, number, id = KEYS[1], 'lane:' .. ARGV[1], tonumber(ARGV[2]), ARGV[3]
  if ARGV[4] ~= '0' or number % 256 == 0 then
    return nil
  end
  local values = redis.call('HMGET', key, 'seen', 'offset', 'busy', lane, 'in_use')
  local known, in_use = values[4], values[5]
  if values[3] or not known or not in_use or tonumber(string.match(known, '^%d+')) >= number then
    return nil
  end
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000) + (values[2] or 0)
  if now + 1 < tonumber(values[1]) then
    return nil
  end
  local weight = string.match(redis.call('HGET', KEYS[7], id) or '', '^held %d+ (%d+) ')
  local ends = weight and redis.call('ZSCORE', KEYS[6], id)
  if not ends or tonumber(ends) <= now then
    return nil
  end

  redis.call('ZREM', KEYS[6], id) -- allowed on a full server, and then so is the rest
  redis.call('HDEL', KEYS[7], id)
  local time = string.format('%.0f', now + 1)
  redis.call('HSET', key, 'seen', time, lane, ARGV[2] .. ' ' .. time .. ' 1', 'in_use', math.max(0, in_use - weight))
  return '1'
end
