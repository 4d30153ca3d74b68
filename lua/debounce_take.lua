--[[
debounce_take: a caller that waits for a window asks whether it is to run its function: the window is due, and it is the newest caller,
or newer ones have not come for it. Safe to repeat, and allowed on a full server once it is due.

KEYS[1] state    HASH    the partition's clock, numbers and counts
KEYS[2] due      ZSET    encoded key -> when it is to be run (ms)
KEYS[3] leases   ZSET    encoded key -> when the lease of its run ends (ms)
KEYS[4] window   HASH    of the key: what is pending, what runs
KEYS[5] callers  ZSET    holder of functions -> number of its newest call
KEYS[6] done     HASH    the window's outcome
KEYS[7] waiters  SET     processes that wait for it
KEYS[8] items    LIST    of payloads: none, where functions run

ARGV[1] id        of the window
ARGV[2] member    the key, encoded
ARGV[3] process   of the caller
ARGV[4] holder    of functions: one debouncer of that process
ARGV[5] attempt   id of this attempt to take: the same one is answered alike
ARGV[6] lease     ms that a run's lease lives unless it is renewed
ARGV[7] attempts  starts of a run, after the last of which it has failed
ARGV[8] grace     ms that each newer holder has to come for it
ARGV[9] keep      ms that all this lives unless somebody asks
ARGV[10] result_ttl  ms that an outcome is kept

Returns "run", fence, attempt, calls and edge; or as debounce_result: an outcome, "pending" and ms until it may be taken, "running", "unknown".
]]
-- @include open_partition
-- @include save_partition
-- @include take_window
-- @include start_run
-- @include bury_run
-- @include keep_closures
local at = {
  state = KEYS[1], due = KEYS[2], leases = KEYS[3], window = KEYS[4], done = KEYS[6], waiters = KEYS[7], run_items = KEYS[8], items = KEYS[8],
}
local callers = KEYS[5]
local id, member, process, holder, attempt = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lease, attempts, grace, keep, result_ttl = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])

local function outcome()
  local known = redis.call('HMGET', at.done, 'status', 'value', 'error', 'calls', 'edge', 'attempts', 'by')
  return known[1] and known
end
local function wait_for(status, left)
  redis.call('SADD', at.waiters, process)
  redis.call('PEXPIRE', at.waiters, 5000)
  keep_closures(keep + (left or 0), { at.state, at.due, at.leases, at.window, callers })
  return { status, left }
end

local known = outcome()
if known then
  return known
end
local part = open_partition(at.state)
local run = read_run(at)
local pending = redis.call('HMGET', at.window, 'window', 'due')
local since
if run and run.window == id then
  if run.state == 'running' then
    if redis.call('HGET', at.window, 'run_taken') == attempt then
      return { 'run', run.fence, run.attempt, run.calls, run.edge }
    end
    since = tonumber(redis.call('ZSCORE', at.leases, member) or 0)
    if since > part.now then
      return wait_for('running', math.min(1000, since - part.now))
    end
    if run.attempt >= attempts then
      redis.call('ZREM', at.leases, member) -- allowed on a full server, and then so is the rest
      save_partition(part)
      local failure = 'ExecutorLost: ' .. run.by .. ' was not heard of until its lease was over, attempt ' .. run.attempt
      bury_run(part, at, member, run, failure, 0, result_ttl, '', 0)
      return outcome()
    end
  else
    since = tonumber(redis.call('ZSCORE', at.due, member) or 0)
  end
elseif pending[1] == id then
  since = tonumber(pending[2])
  if run and since <= part.now then
    -- Once its lease is over the callers of that run take it over; where none is left, it ends here.
    local ends = tonumber(redis.call('ZSCORE', at.leases, member) or 0)
    if run.state ~= 'running' or ends > part.now - 2000 then
      return wait_for('pending', math.max(100, math.min(1000, ends - part.now))) -- who ends that run tells us
    end
    redis.call('ZREM', at.leases, member)
    save_partition(part)
    local lost = { window = run.window, calls = run.calls, edge = run.edge, attempt = run.attempt, fence = run.fence, by = run.by }
    local theirs = string.sub(at.due, 1, -4) .. 'done:' .. run.window
    record_outcome(part, { done = theirs, waiters = theirs .. ':waiters' }, run.window, 'failed', '',
      'ExecutorLost: ' .. run.by .. ' was not heard of, and no caller of this window is left', lost, result_ttl)
    drop_run(at)
    run = nil
  end
else
  return { 'unknown' }
end
local newer = redis.call('ZREVRANK', callers, holder) or 0
local left = since + newer * grace - part.now
if left > 0 then
  return wait_for('pending', left)
end
redis.call('ZREM', at.due, member) -- allowed on a full server, and then so is the rest
run = (run and run.window == id) and run or take_window(part, at)
start_run(part, at, member, run, process, lease)
redis.call('HSET', at.window, 'run_taken', attempt)
save_partition(part)
keep_closures(keep, { at.state, at.due, at.leases, at.window })
return { 'run', run.fence, run.attempt, run.calls, run.edge }
