--[[
batch_cancel: have items that wait not run at all. Those that run already go on. Safe to repeat, and allowed on a full server.

KEYS[1] state     HASH    counters, and what the fleet was told
KEYS[2] items     HASH    id -> record, see batch_add
KEYS[3] held      HASH    id -> claim, of those that run
KEYS[4] tries     HASH    id -> what read_tries reads
KEYS[5] outcomes  HASH    id -> what became of it
KEYS[6] finished  LIST    "<ms> <id> ...": when outcomes are forgotten
KEYS[7] counts    HASH    partition -> how many wait in its ready lists; also the channel on which adders hear of room
KEYS[8] bytes     HASH    partition -> and of how many bytes
KEYS[9] gone      STREAM  ids that ended without a run
KEYS[10] answers  HASH    lane of a client -> its latest call and reply

ARGV[1] lane    of the caller
ARGV[2] number  of this call in its lane, rising; the same one is answered alike
ARGV[3] ttl     ms that outcomes are kept
ARGV[4..] id

Returns a line: a letter for each, "c" cancelled, "r" runs, "o" has an outcome already, "u" unknown; and behind spaces the
partitions of those that were cancelled, which are to be looked at, since nothing may be due there any more. Or "stale" for a call
that its caller gave up.
]]
-- @include logical_ms
-- @include forget_outcomes
-- @include keep_state
-- @include answer_of
-- @include keep_answer
local state, items, held, tries, outcomes, finished = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local counts, bytes, gone, answers = KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local lane, number, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now, offset = logical_ms(state)

local known = answer_of(redis.call('HGET', answers, 'lane:' .. lane), number)
if known then
  return known
end
redis.call('HDEL', items, '') -- allowed on a full server, and then so is the rest
local letters, cancelled, partitions, noted = {}, {}, {}, {}
for i = 4, #ARGV do
  local id = ARGV[i]
  local record = redis.call('HGET', items, id)
  if not record then
    letters[#letters + 1] = redis.call('HEXISTS', outcomes, id) == 1 and 'o' or 'u'
  elseif redis.call('HEXISTS', held, id) == 1 then
    letters[#letters + 1] = 'r'
  else
    -- Its entry stays in its list, and is passed over there. One that was handed out before is counted no more.
    redis.call('HDEL', items, id)
    local partition = string.match(record, '^%S+ (%S+)')
    if redis.call('HDEL', tries, id) == 0 and redis.call('HEXISTS', counts, partition) == 1 then
      redis.call('HINCRBY', counts, partition, -1)
      if redis.call('HEXISTS', bytes, partition) == 1 then
        redis.call('HINCRBY', bytes, partition, -#record)
      end
    end
    redis.call('HSET', outcomes, id, string.format('cancelled %.0f\n', now + ttl))
    letters[#letters + 1] = 'c'
    cancelled[#cancelled + 1] = id
    if not noted[partition] then
      noted[partition] = true
      partitions[#partitions + 1] = partition
    end
  end
end
if #cancelled > 0 then
  redis.call('HINCRBY', state, 'cancelled', #cancelled)
  keep_state(state, now, offset)
  redis.call('XADD', gone, 'MAXLEN', '~', 10000, '*', 'ids', table.concat(cancelled, ' '))
  redis.call('PEXPIRE', gone, ttl)
  redis.call('PUBLISH', gone, '0')
  redis.call('PUBLISH', counts, '0')
  forget_outcomes(outcomes, finished, cancelled, now, ttl)
end
local reply = table.concat({ table.concat(letters), unpack(partitions) }, ' ')
keep_answer(answers, now, lane, number, reply)
return reply
