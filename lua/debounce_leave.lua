--[[
debounce_leave: a holder of functions has no caller left that waits for a window. What has no caller left cannot be run by anybody, and ends:
what is pending, and a run that is not under way. Safe to repeat, and allowed on a full server. (The keys of outcomes are built from the
tag that they share with KEYS, since only the script knows the windows.)

KEYS[1] state    HASH    the partition's clock, numbers and counts
KEYS[2] due      ZSET    encoded key -> when it is to be run (ms)
KEYS[3] leases   ZSET    encoded key -> when the lease of its run ends (ms)
KEYS[4] window   HASH    of the key: what is pending, what runs
KEYS[5] callers  ZSET    window id and holder of functions that waits for it -> number of its newest call

ARGV[1] member   the key, encoded
ARGV[2] holder   of functions: callers of one debouncer of a process
ARGV[3] which    id of the window that it waits for no more; "" for whichever it waits for, "-" for none
ARGV[4] attempt  id of an attempt to take a window whose answer nobody will read: what it took is given back; "" for none
ARGV[5] keep     ms that all this lives unless somebody asks
ARGV[6] result_ttl  ms that an outcome is kept

Returns how many windows ended.
]]
-- @include open_partition
-- @include save_partition
-- @include read_run
-- @include record_outcome
-- @include outcome_keys
-- @include end_run
-- @include keep_closures
local at = { state = KEYS[1], due = KEYS[2], leases = KEYS[3], window = KEYS[4], run_items = KEYS[4] .. ':items' }
local callers = KEYS[5]
local member, holder, which, attempt = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local terms = { result_ttl = tonumber(ARGV[6]), keep = tonumber(ARGV[5]) }

redis.call('ZREM', callers, ' ') -- what no member is: allowed on a full server, and then so is the rest
local part = open_partition(at.state)
local run = read_run(at)
local pending = redis.call('HMGET', at.window, 'window', 'calls', 'edge', 'run_taken')
local waits = pending[1]
local ended = 0

local function stop_waiting(window)
  if window and (which == '' or which == window) then
    redis.call('ZREM', callers, window .. ':' .. holder)
  end
end

local function end_window(ended_run)
  record_outcome(part, outcome_keys(at, ended_run.window), ended_run, {
    status = 'failed', error = 'CallersGone: no caller of this window is left, and it was not run', ttl = terms.result_ttl,
  })
  ended = ended + 1
end

stop_waiting(waits)
stop_waiting(run and run.window)
if attempt ~= '' and run and run.state == 'running' and pending[4] == attempt then
  run.state, run.attempt = 'ready', run.attempt - 1
  redis.call('HSET', at.window, 'run_state', run.state, 'run_attempt', run.attempt)
  redis.call('ZREM', at.leases, member)
  redis.call('ZADD', at.due, part.now, member)
  tell_next(part, at.due, member, run.window, terms)
end
if waits and redis.call('ZCOUNT', callers, waits, '+inf') == 0 then
  end_window({ window = waits, calls = pending[2], edge = pending[3], attempt = 0, fence = '0', by = '' })
  redis.call('HDEL', at.window, 'window', 'due', 'cap', 'calls', 'edge', 'collect', 'opened')
  waits = nil
  if not run then
    redis.call('HDEL', at.window, 'last_call', 'last_run', 'lead') -- the next call begins a burst
    rest(at, member, redis.call('HGET', at.window, 'wait') or 0)
  end
end
if run and run.state ~= 'running' and redis.call('ZCOUNT', callers, run.window, waits and '(' .. waits or '+inf') == 0 then
  end_window(run)
  end_run(part, at, member, terms)
end
if redis.call('EXISTS', at.state) == 1 then
  save_partition(part)
end
keep_closures(terms.keep, at)
return ended
