-- What almost all calls are told: the breaker is closed, and nothing is written. Or what this very call was told before; nil where
-- it is anything else. The rules of who told its own within the last minute come behind it, after "\n!", where they are not the
-- caller's. Those that are older may be of a process that is gone: then the caller is to tell its own.
-- @include answer_of
-- @include server_ms
local function plain_allow()
  local known = redis.call('HMGET', KEYS[1], 'state', 'generation', 'lane:' .. ARGV[1], 'options', 'told', 'offset')
  local reply = answer_of(known[3], tonumber(ARGV[2]))
  if reply or known[1] ~= 'closed' then
    return reply
  end
  reply = 'pass closed ' .. known[2]
  if known[4] == ARGV[10] then
    return reply
  elseif server_ms() + (known[6] or 0) > (known[5] or 0) + 60000 then
    return nil
  end
  return reply .. '\n!' .. known[4]
end
