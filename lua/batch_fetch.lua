--[[
batch_fetch: where items stand, by id, and about 4 MiB of that. Changes nothing.

KEYS[1] items     HASH  id -> record, see batch_add
KEYS[2] held      HASH  id -> claim, of those that run
KEYS[3] outcomes  HASH  id -> what became of it, see batch_add
KEYS[4] state     HASH  counters, and what the fleet was told

ARGV[1..] id

Returns a list, of the first items in turn, one at least: "waits", "runs", "unknown", or its outcome. The others are to be asked for again.
]]
-- @include logical_ms
-- @include hmget_some
-- @include is_kept
local items, held, outcomes = KEYS[1], KEYS[2], KEYS[3]
local now = logical_ms(KEYS[4])
local answer = {}
for i, outcome in ipairs(hmget_some(outcomes, ARGV)) do
  answer[i] = (outcome and is_kept(outcome, now) and outcome)
    or (redis.call('HEXISTS', held, ARGV[i]) == 1 and 'runs')
    or (redis.call('HEXISTS', items, ARGV[i]) == 1 and 'waits')
    or 'unknown'
end
return answer
