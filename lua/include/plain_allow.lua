-- What almost all calls are told: the breaker is closed, and nothing is written. Or what this very call was told before; nil where
-- it is anything else. The rules of whoever brought the state about come behind it, after "\n!", where they are not the caller's.
-- @include answer_of
local function plain_allow()
  local known = redis.call('HMGET', KEYS[1], 'state', 'generation', 'lane:' .. ARGV[1], 'options')
  local reply = answer_of(known[3], tonumber(ARGV[2]))
  if reply or known[1] ~= 'closed' then
    return reply
  end
  reply = 'pass closed ' .. known[2]
  return known[4] == ARGV[10] and reply or reply .. '\n!' .. (known[4] or '')
end
