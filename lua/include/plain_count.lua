-- What most calls do: one ends in a closed breaker, within the tenth of the window that is counted now, and does not open it. The line
-- to return; nil where it is anything else, to be looked at in full: then nothing is written.
-- @include server_ms
local function plain_count()
  local state, last, number, outcome = KEYS[1], KEYS[3], tonumber(ARGV[2]), tonumber(ARGV[5])
  local length, last_calls, lane = tonumber(ARGV[14]), tonumber(ARGV[15]), 'lane:' .. ARGV[1]
  local known = redis.call('HMGET', state, 'state', 'generation', 'window', lane, 'seen', 'offset', 'slot', 'oldest', 'calls',
    'failures', 'slow')
  local latest = known[4] and tonumber(string.match(known[4], '^%d+'))
  local window = length > 0 and 'time' or 'calls'
  if known[1] ~= 'closed' or known[2] ~= ARGV[3] or known[3] ~= window or outcome < 0 or not latest then
    return nil
  end
  local now = server_ms() + (known[6] or 0)
  if number <= latest or number % 256 == 0 or now < tonumber(known[5]) then
    return nil
  end
  local calls, failures, slow, oldest = known[9] + 1, known[10] + outcome % 2, known[11] + (outcome >= 2 and 1 or 0), nil
  if length > 0 then
    local slot = tonumber(known[7])
    if not slot or now >= slot + length / 10 or now >= known[8] + length then
      return nil
    end
  elseif calls > last_calls + 1 or redis.call('LLEN', last) ~= calls - 1 then
    return nil
  elseif calls > last_calls then
    oldest = tonumber(redis.call('LINDEX', last, 0))
    calls, failures, slow = calls - 1, failures - oldest % 2, slow - (oldest >= 2 and 1 or 0)
  end
  if calls >= tonumber(ARGV[13]) and (failures * 1000000 >= ARGV[11] * calls or slow * 1000000 >= ARGV[12] * calls) then
    return nil
  end
  redis.call('PEXPIRE', state, 2592000000) -- allowed on a full server, and then so is the rest
  local reply = 'closed ' .. ARGV[3]
  redis.call('HSET', state, 'seen', now, 'calls', calls, 'failures', failures, 'slow', slow, lane, number .. ' ' .. now .. ' ' .. reply)
  if length == 0 then
    redis.call('RPUSH', last, outcome)
    redis.call('PEXPIRE', last, 2592000000)
    if oldest then
      redis.call('LPOP', last)
    end
  end
  return reply
end
