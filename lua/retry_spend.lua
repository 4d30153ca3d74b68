--[[
retry_spend: take one retry out of the fleet's budget, and put in what calls have brought. Safe to repeat, and allowed on a
full server.

KEYS[1] budget  HASH  seen, offset: the clock; tokens: retries left, in thousandths; calls, retries, refused: how many there were;
                      lane:<caller> -> its latest call and reply

ARGV[1] lane     of the caller
ARGV[2] number   of this call in its lane, rising
ARGV[3] calls    that the caller made since it last asked
ARGV[4] share    thousandths of a retry that each call brings
ARGV[5] minimum  thousandths of a retry that each second brings
ARGV[6] reserve  thousandths that there may be at most, and are at first
ARGV[7] ttl      ms for which an idle budget is kept

Returns 1 where the retry may be made, else 0; or "stale" for a call that its caller gave up.
]]
-- @include recall
-- @include keep_reply
-- @include steady_clock
local budget, lane, number = KEYS[1], ARGV[1], tonumber(ARGV[2])
local calls, share, minimum, reserve = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local known = recall(lane, number)
if known then
  return tonumber(known) or known
end
local state = redis.call('HMGET', budget, 'seen', 'offset', 'tokens')
local now, offset = steady_clock(state[1], state[2])
local tokens = tonumber(state[3] or reserve)
local elapsed = state[1] and math.max(0, now - tonumber(state[1])) or 0
tokens = math.min(reserve, tokens + calls * share + elapsed * minimum / 1000)
redis.call('PEXPIRE', budget, ARGV[7]) -- allowed on a full server, and then so is the rest
local granted = tokens >= 1000 and 1 or 0
redis.call('HSET', budget, 'seen', now, 'offset', offset, 'tokens', string.format('%.3f', tokens - 1000 * granted))
redis.call('HINCRBY', budget, 'calls', calls)
redis.call('HINCRBY', budget, granted == 1 and 'retries' or 'refused', 1)
keep_reply(budget, now, lane, number, tostring(granted))
redis.call('PEXPIRE', budget, ARGV[7])
return granted
