--[[
debounce_beat: a process shows that it lives: the leases of its runs are renewed, and what stands there
of functions is kept (also what is due, whose key is built from the tag that they share). Safe to repeat, and allowed on a full server.

KEYS[1] state   HASH    the partition's clock, numbers and counts
KEYS[2] leases  ZSET    encoded key -> when the lease of its run ends (ms)
KEYS[3..] window  HASH    of the key of each run, at most 500

ARGV[1] lease   ms that a lease lives unless it is renewed
ARGV[2] keep    where callers hold the functions, ms that all this lives unless somebody asks; else 0
ARGV[3..] member (encoded key), fence (of its run), of each

Returns a 1 or 0 for each in turn, as text: whether its lease is renewed.
]]
-- @include open_partition
-- @include save_partition
-- @include keep_closures
local part = open_partition(KEYS[1])
local leases, lease, keep = KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local due = string.sub(leases, 1, -7) .. 'due'
local renewed = ''
redis.call('ZREM', leases, ' ') -- what no member is: allowed on a full server, and then so is the rest
for i = 3, #KEYS do
  local member, fence = ARGV[2 * i - 3], ARGV[2 * i - 2]
  local run = redis.call('HMGET', KEYS[i], 'run_fence', 'run_state')
  if run[1] == fence and run[2] == 'running' then
    redis.call('ZADD', leases, part.now + lease, member)
    if keep > 0 then
      keep_closures(keep, { state = part.state, due = due, leases = leases, window = KEYS[i] })
    end
    renewed = renewed .. '1'
  else
    renewed = renewed .. '0'
  end
end
if string.find(renewed, '1', 1, true) then
  save_partition(part) -- the clock is seen while anything runs
end
return renewed
