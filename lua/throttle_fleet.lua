--[[
throttle_fleet: how many processes have used a limiter in the last minute. Changes nothing.

KEYS[1] state    HASH    the limiter's clock, sums and lanes

ARGV[1] process  id of the caller, which counts as well

Returns that number. Only about 1,000 lanes are looked at: where there are more, it is an estimate.
]]
-- @include server_ms
local state, caller = KEYS[1], ARGV[1]
local BATCH, BATCHES, RECENT = 250, 4, 60000

-- A lane is "<process id>.<n>"; its value begins with "<number> <time of its latest call (ms)>".
local now = server_ms() + tonumber(redis.call('HGET', state, 'offset') or '0')
local fields = redis.call('HLEN', state) -- almost all of them are lanes
local lanes_of, seen, recent, cursor = {}, 0, 0, '0'
for _ = 1, BATCHES do
  local batch = redis.call('HSCAN', state, cursor, 'MATCH', 'lane:*', 'COUNT', BATCH)
  for i = 1, #batch[2], 2 do
    local process = string.match(batch[2][i], '^lane:(.*)%.%d+$')
    local latest = tonumber(string.match(batch[2][i + 1], '^%d+ (%d+)'))
    if process and latest and latest + RECENT > now then
      lanes_of[process] = (lanes_of[process] or 0) + 1
      recent = recent + 1
    end
    seen = seen + 1
  end
  cursor = batch[1]
  if cursor == '0' then
    break
  end
end

local processes, singles = 0, 0
for _, lanes in pairs(lanes_of) do
  processes = processes + 1
  singles = singles + (lanes == 1 and 1 or 0)
end
if cursor ~= '0' and recent > 0 then
  -- By Good and Turing, of all lanes so many belong to processes that are not among those seen: singles / recent. And
  -- there are at most as many more processes as there are more lanes.
  local unseen = singles / recent
  local at_most = processes * math.max(1, fields / seen)
  processes = math.ceil(unseen < 1 and math.min(at_most, processes / (1 - unseen)) or at_most)
end
return math.max(processes, lanes_of[caller] and processes or processes + 1)
