--[[
debounce_take: a caller that waits for a window asks whether it is to run its function: the window is due, and it is the newest caller,
or newer ones have not come for it. Safe to repeat, and allowed on a full server once it is due.

KEYS[1] state    HASH    the partition's clock, numbers and counts
KEYS[2] due      ZSET    encoded key -> when it is to be run (ms)
KEYS[3] leases   ZSET    encoded key -> when the lease of its run ends (ms)
KEYS[4] window   HASH    of the key: what is pending, what runs
KEYS[5] callers  ZSET    window id and holder of functions that waits for it -> number of its newest call
KEYS[6] done     HASH    the window's outcome
KEYS[7] waiters  SET     processes that wait for it
KEYS[8] items    LIST    of payloads: none, where functions run

ARGV[1] id        of the window
ARGV[2] member    the key, encoded
ARGV[3] process   of the caller
ARGV[4] holder    of functions: callers of one debouncer of that process
ARGV[5] attempt   id of this attempt to take: the same one is answered alike, until its lease is over and another has taken it
ARGV[6] lease     ms that a run's lease lives unless it is renewed
ARGV[7] attempts  starts of a run, after the last of which it has failed
ARGV[8] grace     ms that each newer holder that waits for the window has to come for it
ARGV[9] keep      ms that all this lives unless somebody asks
ARGV[10] result_ttl  ms that an outcome is kept

Returns "run", fence, attempt, calls and edge; or as debounce_result: an outcome, "pending" and ms until it may be taken, "running", "unknown".
]]
-- @include open_partition
-- @include save_partition
-- @include read_run
-- @include take_window
-- @include start_run
-- @include bury_run
-- @include keep_closures
-- @include outcome_keys
local at = {
  state = KEYS[1], due = KEYS[2], leases = KEYS[3], window = KEYS[4], done = KEYS[6], waiters = KEYS[7], run_items = KEYS[8], items = KEYS[8],
}
local callers = KEYS[5]
local id, member, process, holder, attempt = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lease, attempts, grace, keep = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local terms = { dead_ttl = 0, result_ttl = tonumber(ARGV[10]), keep = keep }

local function outcome()
  local known = redis.call('HMGET', at.done, 'status', 'value', 'error', 'calls', 'edge', 'attempts', 'by')
  return known[1] and known
end
local part
local function wait_for(status, left)
  redis.call('HDEL', at.window, ' ') -- what no field is: allowed on a full server, and then so is the rest
  save_partition(part) -- the clock is seen while anybody waits for it
  redis.call('SADD', at.waiters, process)
  redis.call('PEXPIRE', at.waiters, 5000)
  keep_closures(keep + left, at)
  return { status, left }
end

local known = outcome()
if known then
  return known
end
part = open_partition(at.state)
local run = read_run(at)
local mine = redis.call('ZSCORE', callers, id .. ':' .. holder)
if not mine then
  return { 'unknown' } -- it has left, and this is a late copy of what it asked before
end
local pending = redis.call('HMGET', at.window, 'window', 'due')
local since
if run and run.window == id then
  if run.state == 'running' then
    if redis.call('HGET', at.window, 'run_taken') == attempt then
      redis.call('ZREM', at.leases, ' ') -- what no member is: allowed on a full server, and then so is the rest
      redis.call('ZADD', at.leases, part.now + lease, member)
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
      bury_run(part, at, member, run, failure, terms)
      keep_closures(keep, at)
      return outcome()
    end
  else
    since = tonumber(redis.call('ZSCORE', at.due, member) or 0)
  end
elseif pending[1] == id then
  since = tonumber(pending[2])
  if run and since <= part.now then
    -- Once its lease is over, or it was given back, the callers of that run take it over; where none comes for it, it ends here.
    local until_ms = tonumber(redis.call('ZSCORE', run.state == 'running' and at.leases or at.due, member) or 0)
    local theirs = redis.call('ZCOUNT', callers, run.window, '(' .. id)
    if theirs > 0 then
      until_ms = until_ms + 2000 + theirs * grace
    end
    if until_ms > part.now then
      return wait_for('pending', math.max(100, math.min(1000, until_ms - part.now))) -- who ends that run tells us
    end
    redis.call('ZREM', at.leases, member) -- allowed on a full server, and then so is the rest
    save_partition(part)
    record_outcome(part, outcome_keys(at, run.window), run, {
      status = 'failed', error = 'ExecutorLost: ' .. run.by .. ' was not heard of, and no caller of this window is left', ttl = terms.result_ttl,
    })
    drop_run(at)
    run = nil
  end
else
  return { 'unknown' }
end
local newer = redis.call('ZCOUNT', callers, '(' .. mine, (pending[1] and pending[1] ~= id) and '(' .. pending[1] or '+inf')
local left = since + newer * grace - part.now
if left > 0 then
  return wait_for('pending', left)
end
redis.call('ZREM', at.due, member) -- allowed on a full server, and then so is the rest
run = (run and run.window == id) and run or take_window(part, at)
start_run(part, at, member, run, process, lease)
redis.call('HSET', at.window, 'run_taken', attempt)
save_partition(part)
keep_closures(keep, at)
return { 'run', run.fence, run.attempt, run.calls, run.edge }
