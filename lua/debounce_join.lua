--[[
debounce_join: a call whose caller holds the function that would run. Safe to repeat. All keys here live for `keep` ms after they
were last asked about: without a live caller nobody can run anything. (Who waits for a window that is due sooner now is told: that key is
built from the shared tag.)

KEYS[1] state    HASH    the partition's clock, numbers and counts; lane of a client -> its latest call and reply
KEYS[2] due      ZSET    encoded key -> when it is to be run (ms)
KEYS[3] leases   ZSET    encoded key -> when the lease of its run ends (ms)
KEYS[4] window   HASH    of the key: what is pending, what runs, when it was last called and run
KEYS[5] callers  ZSET    window id and holder of functions that waits for it -> number of its newest call

ARGV[1] lane       of the caller
ARGV[2] number     of this call in its lane, rising
ARGV[3] member     the key, encoded
ARGV[4] process    of the caller
ARGV[5] holder     of functions: callers of one debouncer of that process
ARGV[6] attempt    id of this call, under which it can be given back where its function was to run now
ARGV[7] wait       ms of quiet before a run
ARGV[8] max_wait   ms after which it runs all the same, -1 for never
ARGV[9] leading    1 to run on the first call of a burst
ARGV[10] trailing   1 to run after the last one
ARGV[11] max_items  calls with which a window is due at once, 0 for any number
ARGV[12] options    all of this as text, for who reads it
ARGV[13] lease      ms that a run's lease lives unless it is renewed
ARGV[14] keep       ms
ARGV[15] result_ttl  ms that an outcome is kept

Returns a line: "pending", "leading" (the caller is to run its function now) or "dropped"; the window's id; the number of the call in
it, 0 for a dropped one; ms until it is due; the fence of the run, 0 for none; or "stale" for a call that its caller gave up.
]]
-- @include answer_of
-- @include keep_reply
-- @include open_partition
-- @include next_number
-- @include save_partition
-- @include place_call
-- @include keep_lead
-- @include read_run
-- @include start_run
-- @include wake_waiters
-- @include keep_closures
local state, due, leases, window, callers = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local lane, number, member, process, holder, attempt = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local wait, max_wait, leading, trailing = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == '1', ARGV[10] == '1'
local max_items, options, lease, keep = tonumber(ARGV[11]), ARGV[12], tonumber(ARGV[13]), tonumber(ARGV[14])
local at = { state = state, due = due, leases = leases, window = window }

local part = open_partition(state, lane)
local known = answer_of(part.kept, number)
if known then
  return known
end
local now = part.now
local placed = place_call(part, window, wait, max_wait, leading, trailing)
local opens = not placed.window
if opens then
  placed.window = next_number(part)
end

-- A full server refuses this first write: then nothing has been written.
redis.call('HSET', window, 'last_call', now, 'wait', wait, 'options', options)
redis.call('HSET', state, 'last_call', now)
redis.call('HINCRBY', state, 'calls', 1)
redis.call('ZADD', callers, next_number(part), placed.window .. ':' .. holder)
if placed.last_run then
  redis.call('HSET', window, 'last_run', now)
end
if placed.edge == 'leading' then
  redis.call('HSET', window, 'lead', placed.window)
end
local fence = '0'
if placed.status == 'leading' then
  redis.call('HSET', window,
    'run', placed.window, 'run_state', 'ready', 'run_attempt', 0, 'run_calls', 1, 'run_edge', 'leading', 'run_collect', 'last', 'run_opened', now)
  local run = read_run(at)
  start_run(part, at, member, run, process, lease)
  redis.call('HSET', window, 'run_taken', attempt)
  fence = run.fence
elseif placed.status == 'pending' then
  if max_items > 0 and placed.number >= max_items then
    placed.sooner = placed.sooner or placed.due > now
    placed.due = math.min(placed.due, now)
  end
  redis.call('HSET', window, 'due', placed.due, 'calls', placed.number)
  if opens then
    redis.call('HSET', window, 'window', placed.window, 'opened', now, 'edge', placed.edge, 'collect', 'last')
    if placed.cap then
      redis.call('HSET', window, 'cap', placed.cap)
    end
  elseif placed.sooner then
    wake_waiters(string.sub(due, 1, -4) .. 'done:' .. placed.window .. ':waiters', placed.window)
  end
  if not placed.runs then
    redis.call('ZADD', due, placed.due, member)
  end
else
  keep_lead(due, placed.window, wait, ARGV[15])
end
save_partition(part)
keep_closures(keep + (placed.due and math.max(0, placed.due - now) or 0), at)

local left = placed.due and math.max(0, placed.due - now) or 0
local reply = string.format('%s %s %.0f %.0f %s', placed.status, placed.window, placed.number, left, fence)
keep_reply(state, now, lane, number, reply)
return reply
