-- What almost all calls are told: the breaker is closed, and nothing is written. Or what this very call was told before; nil where
-- it is anything else.
-- @include answer_of
local function plain_allow()
  local known = redis.call('HMGET', KEYS[1], 'state', 'generation', 'lane:' .. ARGV[1])
  local reply = answer_of(known[3], tonumber(ARGV[2]))
  return reply or known[1] == 'closed' and 'pass closed ' .. known[2] or nil
end
