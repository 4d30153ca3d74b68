--[[
batch_replay: take items of a partition and level out of the dead letter, to run again with attempts reset. One whose id was added
anew and is not finished stays there. Safe to repeat.

KEYS[1] state     HASH  counters, and what the fleet was told
KEYS[2] items     HASH  id -> record, see batch_add
KEYS[3] outcomes  HASH  id -> what became of it
KEYS[4] counts    HASH  partition -> how many wait in its lists
KEYS[5] bytes     HASH  partition -> and of how many bytes
KEYS[6] since     ZSET  partition -> when its oldest was added (ms)
KEYS[7] due       ZSET  partition -> when its next batch is due (ms); also the channel on which workers are called
KEYS[8] dead      HASH  id -> "<ms> <attempts> <lost>", a newline, the error, a newline and the record
KEYS[9] dead_at   ZSET  id -> when it was given up (ms)
KEYS[10] ready    LIST  entries "<ms when it was added>:<id>" of the partition and level
KEYS[11] answers  HASH  lane of a client -> its latest call and reply

ARGV[1] lane       of the caller
ARGV[2] number     of this call in its lane, rising; the same one is answered alike
ARGV[3] partition
ARGV[4] size       items that make a batch due
ARGV[5] max        bytes that make one due, 0 for any
ARGV[6] delay      ms after which the first item makes one due
ARGV[7] level      of priority, from 0
ARGV[8..] id

Returns how many run again; or "stale" for a call that its caller gave up.
]]
-- @include logical_ms
-- @include enqueue
-- @include hdel_all
-- @include keep_state
-- @include answer_of
-- @include keep_answer
local items, outcomes, dead, dead_at, answers = KEYS[2], KEYS[3], KEYS[8], KEYS[9], KEYS[11]
local lane, number = ARGV[1], tonumber(ARGV[2])
local queue = {
  state = KEYS[1], items = items, counts = KEYS[4], bytes = KEYS[5], since = KEYS[6], due = KEYS[7], ready = KEYS[10],
  partition = ARGV[3], size = tonumber(ARGV[4]), max = tonumber(ARGV[5]), delay = tonumber(ARGV[6]),
  level = tonumber(ARGV[7]),
}
local offset
queue.now, offset = logical_ms(queue.state)
local known = answer_of(redis.call('HGET', answers, 'lane:' .. lane), number)
if known then
  return known
end
local ids, records, seen = {}, {}, {}
for i = 8, #ARGV do
  local text = not seen[ARGV[i]] and redis.call('HGET', dead, ARGV[i])
  seen[ARGV[i]] = true
  if text and redis.call('HEXISTS', items, ARGV[i]) == 0 then
    ids[#ids + 1], records[#records + 1] = ARGV[i], string.match(text, '^[^\n]*\n[^\n]*\n%d+ (.*)$')
  end
end
if #ids > 0 then
  enqueue(queue, ids, records)
  redis.call('HINCRBY', queue.state, 'replayed', #ids)
  keep_state(queue.state, queue.now, offset)
  keep_answer(answers, queue.now, lane, number, tostring(#ids))
end
hdel_all(dead, ids)
hdel_all(outcomes, ids)
for _, id in ipairs(ids) do
  redis.call('ZREM', dead_at, id)
end
return tostring(#ids)
