--[[
debounce_replay: a dead letter is to be run again, at once, as if it had never been tried. Safe to repeat under the lane's number.
The keys of its window are built from the tag that they share with KEYS.

KEYS[1] state   HASH    the partition's clock, numbers and counts; lane of a client -> its latest call and reply
KEYS[2] due     ZSET    encoded key -> when it is to be run (ms)
KEYS[3] dead    ZSET    window id -> when it died (ms)

ARGV[1] lane       of the caller
ARGV[2] number     of this call in its lane, rising
ARGV[3] window     its id
ARGV[4] channel    on which workers are told when something is due
ARGV[5] partition  its number
ARGV[6] collect    "last", "first" or "all": which payloads a run gets

Returns 1; 0 where there is no such letter; -1 where its key has both a run and a pending window: then it stays a dead letter. "stale"
for a call that its caller gave up.
]]
-- @include answer_of
-- @include keep_reply
-- @include open_partition
-- @include save_partition
-- @include window_keys
-- @include tell_workers
local due, dead = KEYS[2], KEYS[3]
local lane, number, window, channel, partition = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]

local part = open_partition(KEYS[1], lane)
local kept = answer_of(part.kept, number)
if kept then
  return tonumber(kept) or kept
end
local letter = redis.call('HMGET', dead .. ':' .. window, 'key', 'payload', 'collect', 'calls', 'edge', 'opened', 'wait')
local member = letter[1]
if not member then
  return 0
end
local at = window_keys(string.sub(due, 1, -4), member, window)
local known = redis.call('HMGET', at.window, 'run', 'window')
if known[1] and known[2] then
  return -1
end
-- A full server refuses this first write: then nothing has been written.
save_partition(part)
redis.call('PERSIST', at.state)
local items
if not known[1] then
  items = at.run_items
  redis.call('HSET', at.window,
    'run', window, 'run_state', 'ready', 'run_attempt', 0, 'run_calls', letter[4], 'run_edge', letter[5], 'run_collect', letter[3],
    'run_opened', letter[6], 'run_payload', letter[2])
else
  items = at.items
  -- More calls may come. A leading run had but one payload, which is to stay beside or before theirs.
  if letter[3] ~= 'all' then
    letter[3] = ARGV[6]
    if letter[3] == 'all' then
      redis.call('RPUSH', items, letter[2])
    end
  end
  redis.call('HSET', at.window,
    'window', window, 'due', part.now, 'calls', letter[4], 'bytes', 0, 'edge', letter[5], 'collect', letter[3], 'opened', letter[6],
    'payload', letter[2])
end
if redis.call('HEXISTS', at.window, 'wait') == 0 then
  redis.call('HSET', at.window, 'wait', letter[7] or 0) -- the key was forgotten since
end
redis.call('PERSIST', at.window)
if redis.call('EXISTS', at.letter_items) == 1 then
  redis.call('RENAME', at.letter_items, items)
  redis.call('PERSIST', items)
end
redis.call('DEL', at.letter, at.done)
redis.call('ZREM', dead, window)
if not known[1] then
  redis.call('ZADD', due, part.now, member)
  tell_workers(part, due, member, channel, partition)
end
keep_reply(at.state, part.now, lane, number, '1')
return 1
