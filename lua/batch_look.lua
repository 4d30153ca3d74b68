--[[
batch_look: how a batcher stands. Changes nothing.

KEYS[1] state   HASH  counters, and what the fleet was told
KEYS[2] items   HASH  id -> record, see batch_add
KEYS[3] held    HASH  id -> claim, of those that run
KEYS[4] dead    HASH  id -> see batch_dead
KEYS[5] since   ZSET  partition -> when its oldest was added (ms)
KEYS[6] claims  HASH  claim -> what it holds, see batch_claim

Returns a list: now (ms); how many items are not finished, run, are dead; when the oldest that waits was added (ms, "" for
none); how many claims there are; and the fields and values of the state.
]]
-- @include logical_ms
local state, items, held, dead, since, claims = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now = logical_ms(state)
local answer = {
  string.format('%.0f', now), redis.call('HLEN', items), redis.call('HLEN', held), redis.call('HLEN', dead),
  redis.call('ZRANGE', since, 0, 0, 'WITHSCORES')[2] or '', redis.call('HLEN', claims),
}
for _, text in ipairs(redis.call('HGETALL', state)) do
  answer[#answer + 1] = text
end
return answer
