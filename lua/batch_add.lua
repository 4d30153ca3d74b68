--[[
batch_add: put items into a partition. An id that waits, runs or has an outcome that is still kept is not added again, so this
is safe to repeat.
Refused whole on a full server.

KEYS[1] state     HASH    counters, and what the fleet was told
KEYS[2] items     HASH    id -> "<ms when it was added> <partition> <level> <adder>", a newline and the payload, of every item
                          that is not finished
KEYS[3] held      HASH    id -> claim, of those that run
KEYS[4] outcomes  HASH    id -> what became of it: "<kind> <ms until when it is kept> ...", a newline and the payload
KEYS[5] finished  LIST    "<ms> <id> ...": when outcomes are forgotten
KEYS[6] counts    HASH    partition -> how many wait in its lists
KEYS[7] bytes     HASH    partition -> and of how many bytes
KEYS[8] since     ZSET    partition -> when its oldest was added (ms)
KEYS[9] due       ZSET    partition -> when its next batch is due (ms); also the channel on which workers are called
KEYS[10] gone        STREAM  ids that ended without a run
KEYS[11] ready    LIST    entries "<ms when it was added>:<id>" of the partition and level
KEYS[12] front    LIST    of those that are served before these, see drop_gone
KEYS[13] old      LIST    as `ready`, of the partition of which items are dropped
KEYS[14] old_front LIST   as `front`, likewise
KEYS[15] tries    HASH    id -> what read_tries reads

ARGV[1] partition
ARGV[2] size       items that make a batch due
ARGV[3] max        bytes that make one due, 0 for any
ARGV[4] delay      ms after which the first item makes one due
ARGV[5] queue      items that may wait, -1 for any number
ARGV[6] overflow   "refuse", "block" (refuse, and remember that somebody waits), "drop_new" or "drop_old"
ARGV[7] rest       how many more items the caller is about to add, for which there is to be room
ARGV[8] ttl        ms that outcomes are kept
ARGV[9] ids        of the items, with spaces
ARGV[10] lengths   of their records without the time, with spaces
ARGV[11] records   one behind the other
ARGV[12] level     of priority, from 0
ARGV[13] from      partition of which items are dropped, if any

Returns a letter for each item: "n" new, "w" waits or runs already, "o" has an outcome already, "x" dropped; or "full <n>"
where only n more may wait, and nothing was added; or "oldest <partition>" where nothing was added either, since the caller is to
ask again with the partition `from` which the oldest are to be dropped.
]]
-- @include logical_ms
-- @include words_of
-- @include split_packed
-- @include hmget_all
-- @include enqueue
-- @include keep_state
-- @include is_kept
-- @include drop_gone
-- @include drop_oldest
-- @include note_dropped
-- @include hdel_all
local state, items, held, outcomes, finished, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local bytes, since, due, gone, ready, front = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12]
local old, old_front, tries, from = KEYS[13], KEYS[14], KEYS[15], ARGV[13]
local partition, size, max, delay = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local queue, overflow, rest, ttl = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local now, offset = logical_ms(state)

local ids, records = words_of(ARGV[9]), split_packed(ARGV[10], ARGV[11])
local waits, ended = hmget_all(items, ids), hmget_all(outcomes, ids)
local letters, new, seen, forgotten = {}, {}, {}, {}
for i, id in ipairs(ids) do
  if waits[i] or seen[id] then
    letters[i] = 'w'
  elseif ended[i] and is_kept(ended[i], now) and string.sub(ended[i], 1, 8) ~= 'dropped ' then
    letters[i] = 'o'
  else
    if ended[i] then
      forgotten[#forgotten + 1] = id
    end
    letters[i], seen[id] = 'n', true
    new[#new + 1] = i
  end
end

-- How many are known to wait for their first run: of this partition, or of all but for those that ran before or run.
local function may_drop()
  local others = redis.call('HLEN', items) - redis.call('HLEN', held) - redis.call('HLEN', tries)
  return math.max(tonumber(redis.call('HGET', counts, partition) or 0), others)
end

-- Is there room? Of what does not fit, the newest or the oldest is dropped, or all is refused.
local room = queue - redis.call('HLEN', items) + redis.call('HLEN', held)
local drop, refused = 0, {}
if queue >= 0 and #new > 0 and #new + (overflow == 'drop_new' and 0 or rest) > room then
  if overflow == 'drop_new' then
    for i = math.max(0, room) + 1, #new do
      refused[#refused + 1] = ids[new[i]]
      letters[new[i]], new[i] = 'x', nil
    end
  elseif overflow == 'drop_old' and #new - room <= may_drop() then
    drop = #new - room
    local oldest = redis.call('ZRANGE', since, 0, 0)[1]
    if drop > 0 and oldest and oldest ~= from then
      return 'oldest ' .. oldest
    end
  else
    if overflow == 'block' then
      redis.call('HSET', state, 'blocked_until', now + 2000)
      keep_state(state, now, offset)
    end
    return string.format('full %.0f', math.max(0, room))
  end
end

-- What waits longest makes room, at first of one partition. A full server refuses the first write.
local adds = #new > 0
if drop > 0 then
  redis.call('HSET', state, 'seen', string.format('%.0f', now))
  local dropped = drop_oldest({
    state = state, items = items, counts = counts, bytes = bytes, since = since, ready = old, front = old_front,
    outcomes = outcomes, finished = finished, gone = gone, partition = from, max = max, now = now, ttl = ttl,
  }, math.min(drop, 1000))
  adds = #dropped >= drop
end
if #new > 0 and not adds then
  keep_state(state, now, offset)
  local oldest = redis.call('ZRANGE', since, 0, 0)[1]
  return oldest and 'oldest ' .. oldest or 'full 0'
end
if #new > 0 then
  local new_ids, new_records = ids, records
  if #new < #ids then
    new_ids, new_records = {}, {}
    for n, i in ipairs(new) do
      new_ids[n], new_records[n] = ids[i], records[i]
    end
  end
  enqueue({
    state = state, items = items, counts = counts, bytes = bytes, since = since, due = due, ready = ready,
    partition = partition, level = tonumber(ARGV[12]), size = size, max = max, delay = delay, now = now,
  }, new_ids, new_records)
  hdel_all(outcomes, forgotten)
  drop_gone(front, ready, items, tonumber(redis.call('HGET', counts, partition)), math.min(1000, 2 * #new + 64))
  redis.call('HINCRBY', state, 'added', #new)
  keep_state(state, now, offset)
end
if #refused > 0 then
  note_dropped({ state = state, outcomes = outcomes, finished = finished, now = now, ttl = ttl }, refused)
  keep_state(state, now, offset)
end
return table.concat(letters)
