--[[
debounce_claim: a worker takes what is due: runs whose lease is over, then what is due first. Safe to repeat, and allowed on a
full server. The keys of a window are built from the tag that they share with KEYS, since only the script finds which are due.

KEYS[1] state   HASH    the partition's clock, numbers and counts; lane of a worker -> its latest claim and reply
KEYS[2] due     ZSET    encoded key -> when it is to be run (ms)
KEYS[3] leases  ZSET    encoded key -> when the lease of its run ends (ms)

ARGV[1] lane       of the worker
ARGV[2] number     of this claim in its lane, rising once one was answered; the same one is answered alike
ARGV[3] limit      runs to take, at most 100, and no more than about 4 MiB of payloads; 0 to look only, -1 for what this claim has
                   taken and no more: where it is still on its way it is not to take effect
ARGV[4] executor   id of who takes them
ARGV[5] lease      ms that a run's lease lives unless it is renewed
ARGV[6] attempts   starts of a run, after the last of which it goes to the dead letters
ARGV[7] once       1 where a run is started at most once
ARGV[8] dead_ttl   ms that a dead letter is kept
ARGV[9] result_ttl  ms that an outcome is kept
ARGV[10] channel    on which workers are told when something is due
ARGV[11] partition  its number
ARGV[12] max_dead   dead letters that are kept

Returns one text, since a server makes room of 16 KiB for each array within an array: a line with the ms until more is to be done (0: there
is more, -1: nothing); then for each run a line of words: encoded key, window id, fence, attempt, calls, edge, collect, ms since it was
opened, number of collected payloads (see debounce_items), how often it was repeated without an attempt being counted, ms since that
began, and the bytes of its payload, which follows.
]]
-- @include answer_of
-- @include keep_reply
-- @include open_partition
-- @include save_partition
-- @include window_keys
-- @include read_run
-- @include take_window
-- @include start_run
-- @include bury_run
local state, due, leases = KEYS[1], KEYS[2], KEYS[3]
local lane, number, limit, executor = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local lease, attempts, once = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'
local terms = { dead_ttl = tonumber(ARGV[8]), result_ttl = tonumber(ARGV[9]), channel = ARGV[10], partition = ARGV[11] }
terms.max_dead = tonumber(ARGV[12])
local tag, most = string.sub(due, 1, -4), 4 * 1024 * 1024

local part = open_partition(state, lane)
local known = answer_of(part.kept, number)
local now = part.now
local taken, rows, bytes = {}, {}, 0

-- The first members, `count` at most, whose time has come. Not by ZRANGEBYSCORE, which makes room for a reply of 16 KiB.
local function until_now(zset, count)
  local found, members = redis.call('ZRANGE', zset, 0, count - 1, 'WITHSCORES'), {}
  for i = 1, #found, 2 do
    if tonumber(found[i + 1]) > now then
      break
    end
    members[#members + 1] = found[i]
  end
  return members
end

local function row_of(at, member, run)
  bytes = bytes + #run.payload
  local collected = run.collect == 'all' and redis.call('LLEN', at.run_items) or 0
  rows[#rows + 1] = table.concat({
    member, run.window, run.fence, run.attempt, run.calls, run.edge, run.collect, math.max(0, now - run.opened), collected,
    run.repeats, run.since and math.max(0, now - run.since) or 0, #run.payload,
  }, ' ')
  rows[#rows + 1] = '\n' .. run.payload
end

local function start(member, at, run)
  start_run(part, at, member, run, executor, lease)
  taken[#taken + 1] = member .. '=' .. run.fence
  row_of(at, member, run)
end

redis.call('ZREM', due, ' ') -- what no member is: allowed on a full server, and then so is the rest
if known then
  -- The same claim again: what it took is still its own, unless another has taken it since its lease was over.
  for member, fence in string.gmatch(known, '(%S*)=(%d+)') do
    local at = window_keys(tag, member, '')
    local run = read_run(at)
    if run and run.fence == fence and run.state == 'running' then
      redis.call('ZADD', leases, now + lease, member)
      row_of(at, member, run)
    end
  end
elseif limit < 0 then
  keep_reply(state, now, lane, number, '')
  if redis.call('EXISTS', due, leases) == 0 then
    redis.call('PEXPIRE', state, 86400000)
  end
elseif limit > 0 then
  for _, member in ipairs(until_now(leases, limit)) do
    if bytes >= most then
      break
    end
    local at = window_keys(tag, member, '')
    local run = read_run(at)
    if not run then
      redis.call('ZREM', leases, member)
    elseif once or run.attempt >= attempts then
      at = window_keys(tag, member, run.window)
      local failure = 'ExecutorLost: ' .. run.by .. ' was not heard of until its lease was over, attempt ' .. run.attempt
      bury_run(part, at, member, run, failure, terms)
    else
      start(member, at, run)
    end
  end
  if #taken < limit then
    for _, member in ipairs(until_now(due, limit - #taken)) do
      if bytes >= most then
        break
      end
      local at = window_keys(tag, member, '')
      local run, is_known = take_window(part, at)
      if is_known then
        run = read_run(at)
      end
      if run then
        start(member, at, run)
      else
        redis.call('ZREM', due, member)
      end
    end
  end
  if #taken > 0 then
    keep_reply(state, now, lane, number, table.concat(taken, ' '))
  end
end

local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
local ends = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')[2]
if ends and (not first or tonumber(ends) < tonumber(first)) then
  first = ends
end
if first and not known then
  save_partition(part) -- the clock is seen while anything waits for it
end
return string.format('%.0f\n', first and math.max(0, first - now) or -1) .. table.concat(rows)
