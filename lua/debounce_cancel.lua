--[[
debounce_cancel: drop all that has not been started for a key, and forget its burst, so that the next call begins one. Safe to
repeat under the lane's number, and allowed on a full server. The keys of outcomes are built from the tag that they share with KEYS, since only the
script knows the windows.

KEYS[1] state   HASH    the partition's clock, numbers and counts; lane of a client -> its latest call and reply
KEYS[2] due     ZSET    encoded key -> when it is to be run (ms)
KEYS[3] leases  ZSET    encoded key -> when the lease of its run ends (ms)
KEYS[4] window  HASH    of the key: what is pending, what runs
KEYS[5] items   LIST    payloads of the pending window
KEYS[6] run_items  LIST  payloads of its run

ARGV[1] lane       of the caller
ARGV[2] number     of this call in its lane, rising
ARGV[3] member     the key, encoded
ARGV[4] result_ttl  ms that the outcomes are kept

Returns how many calls were dropped, as text; or "stale" for a call that its caller gave up.
]]
-- @include answer_of
-- @include keep_reply
-- @include open_partition
-- @include save_partition
-- @include read_run
-- @include record_outcome
-- @include outcome_keys
-- @include drop_run
-- @include rest
local at = { state = KEYS[1], due = KEYS[2], leases = KEYS[3], window = KEYS[4], items = KEYS[5], run_items = KEYS[6] }
local lane, number, member, result_ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])

local part = open_partition(at.state, lane)
local known = answer_of(part.kept, number)
if known then
  return known
end
redis.call('HDEL', at.window, 'last_call', 'last_run', 'lead') -- allowed on a full server, and then so is the rest
local dropped = 0

local function drop(run)
  record_outcome(part, outcome_keys(at, run.window), run, { status = 'cancelled', ttl = result_ttl })
  dropped = dropped + run.calls
end

local run = read_run(at)
if run and run.state ~= 'running' then
  drop(run)
  drop_run(at)
  run = nil
end
local pending = redis.call('HMGET', at.window, 'window', 'calls', 'edge')
if pending[1] then
  drop({ window = pending[1], calls = pending[2], edge = pending[3], attempt = 0, fence = '0', by = '' })
  redis.call('UNLINK', at.items)
  redis.call('HDEL', at.window, 'window', 'due', 'cap', 'calls', 'bytes', 'edge', 'collect', 'opened', 'payload')
end
if dropped > 0 then
  save_partition(part)
  if not run then
    rest(at, member, redis.call('HGET', at.window, 'wait') or 0)
  end
end
local reply = string.format('%.0f', dropped)
keep_reply(at.state, part.now, lane, number, reply)
if redis.call('EXISTS', at.due, at.leases) == 0 then
  redis.call('PEXPIRE', at.state, 86400000)
end
return reply
