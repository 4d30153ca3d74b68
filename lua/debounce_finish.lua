--[[
debounce_finish: a run is over: done, failed, or given back. What is pending for its key is next. Safe to repeat, and allowed on a
full server. (Of functions, the callers of the window that is next are told: their key is built from the shared tag.)

KEYS[1] state    HASH    the partition's clock, numbers and counts
KEYS[2] due      ZSET    encoded key -> when it is to be run (ms)
KEYS[3] leases   ZSET    encoded key -> when the lease of its run ends (ms)
KEYS[4] window   HASH    of the key: what is pending, what runs
KEYS[5] items    LIST    payloads of its run
KEYS[6] done     HASH    the window's outcome
KEYS[7] waiters  SET     processes that wait for it
KEYS[8] dead     ZSET    window id -> when it died (ms)
KEYS[9] letter   HASH    the window as a dead letter
KEYS[10] letter_items  LIST  its payloads

ARGV[1] member     the key, encoded
ARGV[2] fence      of the run
ARGV[3] outcome    "done", "failed", "repeat" (failed by no fault of its own: no attempt is counted) or "returned"
ARGV[4] value      that was returned, as bytes
ARGV[5] error      as text, "" for none
ARGV[6] retry      of one that failed, ms until it is tried again; -1 for never
ARGV[7] dead_ttl   ms that a dead letter is kept, 0 for none
ARGV[8] result_ttl  ms that the outcome is kept
ARGV[9] channel    on which workers are told when something is due
ARGV[10] partition  its number
ARGV[11] keep      where callers hold the functions, ms that all this lives unless somebody asks; else 0
ARGV[12] max_dead  dead letters that are kept

Returns 1, also where it was said before; or 0 where somebody else has the run since: then nothing was changed.
]]
-- @include open_partition
-- @include save_partition
-- @include read_run
-- @include bury_run
-- @include keep_closures
local at = {
  state = KEYS[1], due = KEYS[2], leases = KEYS[3], window = KEYS[4], run_items = KEYS[5], done = KEYS[6], waiters = KEYS[7],
  dead = KEYS[8], letter = KEYS[9], letter_items = KEYS[10],
}
local member, fence, outcome, value, failure, retry = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local terms = { dead_ttl = tonumber(ARGV[7]), result_ttl = tonumber(ARGV[8]), channel = ARGV[9], partition = ARGV[10], max_dead = tonumber(ARGV[12]) }
terms.keep = ARGV[11] ~= '0' and tonumber(ARGV[11]) or nil

local run = read_run(at)
if not run or run.fence ~= fence then
  -- Said again: it is over, or is another's turn since.
  return (redis.call('HGET', at.done, 'fence') == fence or redis.call('HGET', at.window, 'run_said') == fence) and 1 or 0
end
if run.state ~= 'running' then
  return 1
end
redis.call('ZREM', at.leases, member) -- allowed on a full server, and then so is the rest
local part = open_partition(at.state)
save_partition(part)
if outcome == 'done' then
  redis.call('HINCRBY', at.state, 'done', 1)
  record_outcome(part, at, run, { status = 'done', value = value, error = failure, ttl = terms.result_ttl })
  end_run(part, at, member, terms)
elseif outcome == 'failed' and retry < 0 then
  bury_run(part, at, member, run, failure, terms)
else
  local again = part.now
  redis.call('HSET', at.window, 'run_said', fence)
  if outcome ~= 'returned' then
    redis.call('HINCRBY', at.state, 'retried', 1)
    redis.call('HSET', at.window, 'run_state', 'retry', 'run_error', failure)
    if outcome == 'repeat' then
      redis.call('HSET', at.window, 'run_attempt', run.attempt - 1, 'run_since', run.since or part.now)
      redis.call('HINCRBY', at.window, 'run_repeats', 1)
    end
    again = again + retry
  else
    redis.call('HSET', at.window, 'run_state', 'ready', 'run_attempt', run.attempt - 1)
  end
  redis.call('ZADD', at.due, again, member)
  tell_next(part, at.due, member, run.window, terms)
end
if terms.keep then
  keep_closures(terms.keep, at)
end
return 1
