--[[
batch_settle: what became of items of a claim: done, failed for good, to run again later, or given back. Only of those that the
claim still holds: a worker that was thought dead, and whose items others have, changes nothing. Counts runs in the same
breath. Safe to repeat, whatever became of the items since, and allowed on a full server.

KEYS[1] state     HASH    counters, and what the fleet was told
KEYS[2] items     HASH    id -> record, see batch_add
KEYS[3] held      HASH    id -> claim, of those that run
KEYS[4] tries     HASH    id -> what read_tries reads
KEYS[5] leases    ZSET    claim -> when its lease ends (ms)
KEYS[6] claims    HASH    claim -> what it holds, see batch_claim
KEYS[7] due       ZSET    partition -> when its next batch is due (ms); also the channel on which workers are called
KEYS[8] outcomes  HASH    id -> "<done or failed> <ms until when it is kept> <fence>", a newline and the result or error
KEYS[9] finished  LIST    "<ms> <id> ...": when outcomes are forgotten
KEYS[10] dead     HASH    id -> "<ms> <attempts> <lost>", a newline, the error, a newline and the record
KEYS[11] dead_at  ZSET    id -> when it was given up (ms)
KEYS[12] later    ZSET    entry -> when it is to run again (ms), of the partition
KEYS[13] again    LIST    entries that are due again, of the partition
KEYS[14..] reply  STREAM  of ids with outcomes, for each adder; behind each the HASH of its run, and two bits for each of its items (1 done,
                          2 failed), where it is one

ARGV[1] claim
ARGV[2] fence      of the claim
ARGV[3] partition
ARGV[4] last       1 if the claim holds nothing afterwards, else 0
ARGV[5] ttl        ms that outcomes are kept
ARGV[6] dead_ttl   ms that dead items are kept
ARGV[7] max_dead   how many are kept
ARGV[8] done       ids of the items that are done, with spaces
ARGV[9] places     of their adders among the replies, 0 for none, with spaces
ARGV[10] lengths   of their results, with spaces
ARGV[11] results   one behind the other
ARGV[12..] entry (text), kind (text), place (of its adder), wait (ms until it runs again), told (bytes), error (text) of each
other item; its kind is "dead", "retry" (an attempt failed), "repeat" (one that does not count) or "back"; its adder is told the error

Returns how many of the items the claim held, when this was sent for the first time.
]]
-- @include logical_ms
-- @include words_of
-- @include split_packed
-- @include hmget_all
-- @include hset_all
-- @include hdel_all
-- @include rpush_all
-- @include entry_id
-- @include read_tries
-- @include write_tries
-- @include call_worker
-- @include keep_state
-- @include forget_outcomes
-- @include tell_adder
local state, items, held, tries, leases, claims, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local outcomes, finished, dead, dead_at, later, again = KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local claim, fence, partition, last = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local ttl, dead_ttl, max_dead = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local now, offset = logical_ms(state)

redis.call('ZREM', leases, '') -- allowed on a full server, and then so is the rest
local ids, places, results = words_of(ARGV[8]), words_of(ARGV[9]), split_packed(ARGV[10], ARGV[11])
local number_done, first_other = #ids, 12
for i = first_other, #ARGV, 6 do
  ids[#ids + 1] = entry_id(ARGV[i])
end
local owners = hmget_all(held, ids)
local freed, over, ended, told, kinds = {}, {}, {}, {}, { done = 0, dead = 0, retry = 0, back = 0 }
kinds['repeat'] = 0
local age = string.format(' %.0f %s\n', now + ttl, fence)
local settled_before = 0

-- Whether this call, sent before, or an earlier one of the claim has settled an item that the claim holds no more.
local function is_settled(id, kind)
  if kind == 'done' or kind == 'dead' then
    return string.match(redis.call('HGET', outcomes, id) or '', '^%a+ %d+ (%d+)\n') == fence
  end
  return read_tries(redis.call('HGET', tries, id) or nil).by == fence
end

-- Of a run each item counts once, as what it ended as last: it may have run anew, out of the dead letter or since that was forgotten.
local function count(adder, place, id, kind)
  local stream, counted = KEYS[14 + 3 * (place - 1)], KEYS[16 + 3 * (place - 1)]
  local number = string.find(stream, '}:reply:run:') and string.match(id, '%.(%d+)$')
  if number then
    local before = redis.call('BITFIELD', counted, 'SET', 'u2', '#' .. number, kind == 'done' and 1 or 2)[1]
    if before > 0 then
      local as = before == 1 and 'done' or 'dead'
      adder[as] = adder[as] - 1
    end
  end
  adder[kind] = adder[kind] + 1
end

local function note(id, place, kind)
  kinds[kind] = kinds[kind] + 1
  if place ~= '0' then
    told[place] = told[place] or { ids = {}, done = 0, dead = 0, again = 0 }
    local adder = told[place]
    if kind == 'done' or kind == 'dead' then
      adder.ids[#adder.ids + 1] = id
      count(adder, place, id, kind)
    elseif kind ~= 'back' then
      adder.again = adder.again + 1
    end
  end
end

for n = 1, number_done do
  local id = ids[n]
  if owners[n] == claim then
    over[#over + 1], freed[#freed + 1] = id, id
    ended[#ended + 1], ended[#ended + 2] = id, 'done' .. age .. results[n]
    note(id, places[n], 'done')
  elseif is_settled(id, 'done') then
    settled_before = settled_before + 1
  end
end

local soonest, back = nil, {}
for at = first_other, #ARGV, 6 do
  local entry, kind, place, wait = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local n = number_done + (at - first_other) / 6 + 1
  local id = ids[n]
  if owners[n] == claim then
    freed[#freed + 1] = id
    note(id, place, kind)
    local known = read_tries(redis.call('HGET', tries, id) or nil)
    known.by = fence
    if kind == 'dead' then
      local text = string.format('%.0f %.0f %.0f\n', now, known.attempts + 1, known.lost)
      redis.call('HSET', dead, id, text .. ARGV[at + 5] .. '\n' .. (redis.call('HGET', items, id) or ''))
      redis.call('ZADD', dead_at, now, id)
      over[#over + 1] = id
      ended[#ended + 1], ended[#ended + 2] = id, 'failed' .. age .. ARGV[at + 4]
    elseif kind == 'back' then
      back[#back + 1] = entry
      redis.call('HSET', tries, id, write_tries(known)) -- it says that the item is in no ready list
    else
      if kind == 'retry' then
        known.attempts = known.attempts + 1
      else
        known.repeats, known.since = known.repeats + 1, known.since > 0 and known.since or now
      end
      redis.call('HSET', tries, id, write_tries(known))
      redis.call('ZADD', later, now + wait, entry)
      soonest = math.min(soonest or wait, wait)
    end
  elseif is_settled(id, kind) then
    settled_before = settled_before + 1
  end
end

hset_all(outcomes, ended) -- before the items go: where that fails, they are held still
hdel_all(held, freed)
hdel_all(items, over)
hdel_all(tries, over)
rpush_all(again, back)
if last then
  redis.call('ZREM', leases, claim)
  redis.call('HDEL', claims, claim)
end
if #back > 0 or soonest then
  call_worker(due, partition, now + (#back > 0 and 0 or soonest), now, #back > 0)
end
if kinds.dead > 0 then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', dead_at, '-inf', now - dead_ttl, 'LIMIT', 0, 100)) do
    redis.call('ZREM', dead_at, id)
    redis.call('HDEL', dead, id)
  end
  local most = redis.call('ZCARD', dead_at) - max_dead
  if most > 0 then
    for _, id in ipairs(redis.call('ZRANGE', dead_at, 0, math.min(most, 1000) - 1)) do
      redis.call('ZREM', dead_at, id)
      redis.call('HDEL', dead, id)
    end
  end
  redis.call('PEXPIRE', dead, dead_ttl)
  redis.call('PEXPIRE', dead_at, dead_ttl)
end

for place, adder in pairs(told) do
  local stream, run, bits = KEYS[14 + 3 * (place - 1)], KEYS[15 + 3 * (place - 1)], KEYS[16 + 3 * (place - 1)]
  if string.find(stream, '}:reply:run:') then
    redis.call('HINCRBY', run, 'done', adder.done)
    redis.call('HINCRBY', run, 'failed', adder.dead)
    redis.call('HINCRBY', run, 'retried', adder.again)
    redis.call('HSET', run, 'updated', now)
    redis.call('PEXPIRE', run, ttl)
    redis.call('PEXPIRE', bits, ttl)
  end
  if #adder.ids > 0 then
    tell_adder(stream, adder.ids, now, ttl)
  end
end
for kind, name in pairs({ done = 'done', dead = 'failed', retry = 'retried', ['repeat'] = 'retried' }) do
  if kinds[kind] > 0 then
    redis.call('HINCRBY', state, name, kinds[kind])
  end
end
forget_outcomes(outcomes, finished, over, now, ttl)
keep_state(state, now, offset)
return #freed + settled_before
