--[[
batch_claim: take the next batch of a partition under a lease, if one is due. Nothing lies between a batch that is due and one
that is owned. A call that is sent again gets the same items. Takes back what other workers held that are not heard of any
more, and allowed on a full server.

KEYS[1] state     HASH    counters, and what the fleet was told
KEYS[2] items     HASH    id -> record, see batch_add
KEYS[3] held      HASH    id -> claim, of those that run
KEYS[4] tries     HASH    id -> what read_tries reads
KEYS[5] leases    ZSET    claim -> when its lease ends (ms)
KEYS[6] claims    HASH    claim -> "<worker> <since> <partition> <reason> <fence> <entry> <entry> ..."
KEYS[7] due       ZSET    partition -> when its next batch is due (ms); also the channel on which workers are called
KEYS[8] counts    HASH    partition -> how many wait in its ready lists; also the channel on which adders hear of room
KEYS[9] bytes     HASH    partition -> and of how many bytes
KEYS[10] since    ZSET    partition -> when its oldest was added (ms)
KEYS[11] forced   HASH    partition -> what was added until then (ms) is due at once
KEYS[12] later    ZSET    entry -> when it is to run again (ms), of this partition
KEYS[13] again    LIST    entries that are due again, of this partition
KEYS[14..] ready  LIST    entries of this partition, two lists for each level, the first to be served first

ARGV[1] claim       an id that no other call has
ARGV[2] worker      that claims
ARGV[3] partition
ARGV[4] most        items to take, 0 to only look
ARGV[5] size        items that make a batch due, and are in one at most
ARGV[6] max         bytes that do, 0 for any number
ARGV[7] delay       ms after which the first item makes one due
ARGV[8] lease       ms that the claim lives unless it is renewed
ARGV[9] deliveries  that an item may have: the last is alone in its batch
ARGV[10] most_bytes that are taken, but for one item that is larger

Returns a list: "levels" and how many there are, where lists were given for fewer; "wait" and the ms after which something is
due, -1 for when called; "paused"; "go" and the partition to ask for instead; "due" and how many items would be taken, after a
look; or "items", now (ms), the fence, the reason, the partition that is due next and in how many ms ("" and -1 for none), and
of the items: their entries, with spaces, each with what read_tries reads behind it, parted by colons, where that is anything;
the lengths of their records; and these one behind the other.
]]
-- @include logical_ms
-- @include reclaim
-- @include first_waiting
-- @include first_later
-- @include take_items
-- @include words_of
-- @include keep_state
-- @include next_number
local claim, worker, partition, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local batch = {
  state = KEYS[1], items = KEYS[2], held = KEYS[3], tries = KEYS[4], leases = KEYS[5], claims = KEYS[6],
  due = KEYS[7], counts = KEYS[8], bytes = KEYS[9], since = KEYS[10], forced = KEYS[11], later = KEYS[12], again = KEYS[13],
  size = tonumber(ARGV[5]), max = tonumber(ARGV[6]), delay = tonumber(ARGV[7]), lease = tonumber(ARGV[8]),
  deliveries = tonumber(ARGV[9]), most_bytes = tonumber(ARGV[10]),
}
local now, offset, was_set_back = logical_ms(batch.state)

-- Another process has more levels of priority: nothing is to be overlooked, nor forgotten for want of it.
local levels = tonumber(redis.call('HGET', batch.state, 'levels') or 1)
if levels > (#KEYS - 13) / 2 then
  return { 'levels', string.format('%.0f', levels) }
end

local function handed_out(head, entries, records, tries)
  local lengths, shown = {}, {}
  for i, entry in ipairs(entries) do
    records[i] = records[i] or ''
    lengths[i] = #records[i]
    shown[i] = tries[i] and tries[i] ~= '' and entry .. ':' .. string.gsub(tries[i], ' ', ':') or entry
  end
  head[#head + 1], head[#head + 2] = table.concat(shown, ' '), table.concat(lengths, ' ')
  head[#head + 1] = table.concat(records)
  return head
end

-- The same again, where the reply was lost.
redis.call('ZREM', batch.leases, '') -- allowed on a full server, and then so is the rest
if was_set_back then
  keep_state(batch.state, now, offset)
end
local mine = redis.call('HGET', batch.claims, claim)
if mine then
  redis.call('ZADD', batch.leases, 'XX', now + batch.lease, claim)
  local _, _, _, reason, fence, entries = string.match(mine, '^(%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
  local listed, ids = words_of(entries), {}
  for i, entry in ipairs(listed) do
    ids[i] = entry_id(entry)
  end
  local head = { 'items', string.format('%.0f', now), fence, reason, '', '-1' }
  return handed_out(head, listed, hmget_all(batch.items, ids), hmget_all(batch.tries, ids))
end

-- What silent workers held, and what is to run again by now.
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', batch.leases, '-inf', now, 'LIMIT', 0, 2)) do
  local of = string.match(redis.call('HGET', batch.claims, silent) or '', '^%S+ %S+ (%S+)') or partition
  if of ~= partition then
    return { 'go', of }
  end
  reclaim(batch, silent, true)
end
local back = redis.call('ZRANGEBYSCORE', batch.later, '-inf', now, 'LIMIT', 0, 1000)
for _, entry in ipairs(back) do
  redis.call('ZREM', batch.later, entry)
end
rpush_all(batch.again, back)
-- How the partition stands: which trigger makes it due, and when the next one does.
local function look()
  local count = tonumber(redis.call('HGET', batch.counts, partition) or 0)
  local bytes = tonumber(redis.call('HGET', batch.bytes, partition) or 0)
  local own = tonumber(redis.call('HGET', batch.forced, partition) or -1)
  local until_ms = math.max(own, tonumber(redis.call('HGET', batch.state, 'flushed') or -1))
  local found = { again = first_waiting(batch.again, batch.items), count = count, until_ms = until_ms }
  local forced = false
  for i = 14, #KEYS do
    local first, more = first_waiting(KEYS[i], batch.items)
    if first then
      found.first = math.min(found.first or first, first)
      forced = forced or first <= until_ms
    end
    found.more = found.more or more
  end
  if found.first and (count >= batch.size or (batch.max > 0 and bytes >= batch.max)) then
    found.reason = count >= batch.size and 'size' or 'bytes'
  elseif forced then
    found.reason = 'flush'
  elseif found.first and math.min(found.first, now) + batch.delay <= now then
    found.reason = 'delay'
  end
  if not forced and own >= 0 then
    redis.call('HDEL', batch.forced, partition)
  end
  return found
end

local function plan_next(found)
  local next_due
  if found.again or found.reason or found.more then
    next_due = now
  else
    next_due = found.first and math.min(found.first, now) + batch.delay
    local later = first_later(batch.later, batch.items)
    if later then
      next_due = math.min(next_due or later, later)
    end
  end
  if next_due then
    redis.call('ZADD', batch.due, next_due, partition)
  else
    redis.call('ZREM', batch.due, partition)
  end
  if found.first then
    redis.call('ZADD', batch.since, found.first, partition)
  elseif not found.more then
    redis.call('ZREM', batch.since, partition)
    redis.call('HDEL', batch.counts, partition)
    redis.call('HDEL', batch.bytes, partition)
  end
end

local function next_call()
  local head = redis.call('ZRANGE', batch.due, 0, 0, 'WITHSCORES')
  local ends = redis.call('ZRANGE', batch.leases, 0, 0, 'WITHSCORES')[2]
  local wait = -1
  if head[2] then
    wait = math.max(0, head[2] - now)
  end
  if ends and (wait < 0 or ends - now < wait) then
    wait = math.max(0, ends - now + 1)
  end
  return head[1] or '', wait
end

local found = look()
if redis.call('HGET', batch.state, 'paused') then
  plan_next(found)
  keep_state(batch.state, now, offset)
  return { 'paused' }
end
local taken = { entries = {}, ids = {}, records = {}, tries = {}, bytes = 0 }
if most > 0 then
  batch.size = math.min(batch.size, most)
  batch.troubled = redis.call('EXISTS', batch.tries) == 1
  if found.again then
    take_items(batch, taken, batch.again)
  end
  if found.reason and (taken.lost or 0) == 0 then
    for i = 14, #KEYS do
      local number, bytes = take_items(batch, taken, KEYS[i], found.reason == 'flush' and found.until_ms or nil)
      if number > 0 then
        redis.call('HINCRBY', batch.counts, partition, -number)
        if batch.max > 0 then
          redis.call('HINCRBY', batch.bytes, partition, -bytes)
        end
      end
    end
  end
elseif found.again or found.reason then
  local number = math.min(batch.size, redis.call('LLEN', batch.again) + (found.reason and found.count or 0))
  return { 'due', string.format('%.0f', number) }
end

if #taken.entries == 0 then
  plan_next(found)
  local other, wait = next_call()
  if wait == 0 and other ~= '' then
    return { 'go', other }
  end
  return { 'wait', string.format('%.0f', wait) }
end
batch.size = tonumber(ARGV[5])
plan_next(look())
local reason = found.reason or 'again'
local fence = next_number({ fence = tonumber(redis.call('HGET', batch.state, 'fence') or 0), now = now })
local holds = {}
for _, id in ipairs(taken.ids) do
  holds[#holds + 1], holds[#holds + 2] = id, claim
end
hset_all(batch.held, holds)
redis.call('ZADD', batch.leases, now + batch.lease, claim)
redis.call('HSET', batch.claims, claim, worker .. ' ' .. string.format('%.0f', now) .. ' ' .. partition .. ' ' .. reason .. ' '
  .. fence .. ' ' .. table.concat(taken.entries, ' '))
redis.call('HINCRBY', batch.state, 'by_' .. reason, 1)
redis.call('HSET', batch.state, 'fence', fence)
keep_state(batch.state, now, offset)
local blocked = redis.call('HGET', batch.state, 'blocked_until')
if blocked and tonumber(blocked) > now then
  redis.call('PUBLISH', batch.counts, '0')
end
local other, wait = next_call()
local head = { 'items', string.format('%.0f', now), fence, reason, other, string.format('%.0f', wait) }
return handed_out(head, taken.entries, taken.records, taken.tries)
