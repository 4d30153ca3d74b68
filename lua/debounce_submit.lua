--[[
debounce_submit: a call with a payload, for a handler. Safe to repeat, also under the caller's own call id, for a minute.

KEYS[1] state   HASH    the partition's clock, numbers and counts; lane of a client, or of one call id -> its latest call and reply
KEYS[2] due     ZSET    encoded key -> when it is to be run (ms): pending windows, runs that are ready or to be tried again
KEYS[3] window  HASH    of the key: what is pending, what runs, when it was last called and run
KEYS[4] items   LIST    payloads of the pending window, oldest first, where all are collected

ARGV[1] lane       of the caller
ARGV[2] number     of this call in its lane, rising
ARGV[3] member     the key, encoded
ARGV[4] call id    of the caller's own, "" for none
ARGV[5] payload    as bytes
ARGV[6] wait       ms of quiet before a run
ARGV[7] max_wait   ms after which it runs all the same, -1 for never
ARGV[8] leading    1 to run on the first call of a burst
ARGV[9] trailing   1 to run after the last one
ARGV[10] collect    "last", "first" or "all": which payloads the run gets
ARGV[11] max_items  calls with which a window is due at once, 0 for any number
ARGV[12] max_bytes  bytes of payloads likewise
ARGV[13] options    all of this as text, for who reads it
ARGV[14] channel    on which workers are told when something is due
ARGV[15] partition  its number
ARGV[16] max_queue  calls that may wait in one window, 0 for any number
ARGV[17] result_ttl  ms that an outcome is kept

Returns a line: "pending", "leading" or "dropped"; the window's id; the number of the call in it, 0 for a dropped one; ms until
it is due. "full" in place of the first where `max_queue` calls wait already: then nothing was changed. Or "stale" for a call that
its caller gave up.
]]
-- @include answer_of
-- @include recall_recent
-- @include keep_reply
-- @include open_partition
-- @include next_number
-- @include place_call
-- @include keep_lead
-- @include tell_workers
local state, due, window, items = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local lane, number, member, call_id, payload = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local wait, max_wait, leading, trailing = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1', ARGV[9] == '1'
local max_items, max_bytes = tonumber(ARGV[11]), tonumber(ARGV[12])
local options, channel, partition, max_queue = ARGV[13], ARGV[14], ARGV[15], tonumber(ARGV[16])

local part = open_partition(state, lane)
local own_lane = 'call:' .. member .. ':' .. call_id
local known = answer_of(part.kept, number) or (call_id ~= '' and recall_recent(part, own_lane))
if known then
  return known
end
local now = part.now
local placed = place_call(part, window, wait, max_wait, leading, trailing)
local status, opens = placed.status, not placed.window
if max_queue > 0 and status == 'pending' and placed.number > max_queue then
  return string.format('full %s %.0f %.0f', placed.window, placed.number - 1, math.max(0, placed.due - now))
end
local bytes = placed.bytes + #payload
if opens then
  placed.window = next_number(part)
end
if status == 'pending' and ((max_items > 0 and placed.number >= max_items) or (max_bytes > 0 and bytes >= max_bytes)) then
  placed.sooner = placed.sooner or placed.due > now
  placed.due = math.min(placed.due, now)
end
local left = placed.due and math.max(0, placed.due - now) or 0
local reply = string.format('%s %s %.0f %.0f', status, placed.window, placed.number, left)

-- A full server refuses this first write: then nothing has been written. One command says all, since this is called most.
local kept = number .. ' ' .. now .. ' ' .. reply
if opens then
  redis.call('HSET', state,
    'seen', now, 'last_call', now, 'calls', part.calls + 1, 'lane:' .. lane, kept, 'offset', part.offset, 'fence', placed.window)
  redis.call('PERSIST', state)
else
  redis.call('HSET', state, 'seen', now, 'last_call', now, 'calls', part.calls + 1, 'lane:' .. lane, kept, 'offset', part.offset)
end
if not part.kept or number % 256 == 0 then
  sweep_lanes(state, now)
end
if call_id ~= '' then
  keep_reply(state, now, own_lane, 1, reply)
end
local collect = placed.collect or ARGV[10]
if collect == 'all' and status == 'pending' then
  redis.call('RPUSH', items, payload)
end
if status == 'pending' and collect == 'last' and not opens and placed.wait_before == ARGV[6] then
  -- What most calls do: the payload of a pending window is replaced.
  redis.call('HSET', window, 'last_call', now, 'due', placed.due, 'calls', placed.number, 'bytes', bytes, 'payload', payload)
else
  local fields = { 'last_call', now }
  local function set(name, value)
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  if opens or placed.wait_before ~= ARGV[6] then
    set('wait', wait)
    set('options', options)
  end
  if placed.last_run then
    set('last_run', now)
  end
  if placed.edge == 'leading' then
    set('lead', placed.window)
  end
  if status == 'pending' then
    if opens then
      set('window', placed.window)
      set('opened', now)
      set('edge', placed.edge)
      set('collect', collect)
      if placed.cap then
        set('cap', placed.cap)
      end
    end
    set('due', placed.due)
    set('calls', placed.number)
    set('bytes', bytes)
    if collect == 'last' or (collect == 'first' and opens) then
      set('payload', payload)
    end
  elseif status == 'leading' then
    set('run', placed.window)
    set('run_state', 'ready')
    set('run_attempt', 0)
    set('run_calls', 1)
    set('run_edge', 'leading')
    set('run_collect', 'last')
    set('run_opened', now)
    set('run_payload', payload)
  end
  redis.call('HSET', window, unpack(fields)) -- at most 28
end
if opens then
  redis.call('PERSIST', window)
elseif status == 'dropped' then
  keep_lead(due, placed.window, wait, ARGV[17])
  if not placed.runs then
    redis.call('PEXPIRE', window, wait + 60000)
  end
end
if status ~= 'dropped' and not placed.runs then
  redis.call('ZADD', due, placed.due, member)
  if placed.sooner then
    tell_workers(part, due, member, channel, partition)
  end
end
return reply
