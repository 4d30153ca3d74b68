--[[
batch_renew: a process shows that it lives: the leases of its claims are renewed. Safe to repeat, and allowed on a full server.

KEYS[1] leases  ZSET  claim -> when its lease ends (ms)
KEYS[2] state   HASH  counters, and what the fleet was told

ARGV[1] lease   ms that a claim lives unless it is renewed
ARGV[2..] claim  ids

Returns a 1 or 0 for each claim, whether it is still held: one whose lease ended but was not taken back yet goes on.
]]
-- @include logical_ms
local leases, state, lease = KEYS[1], KEYS[2], tonumber(ARGV[1])
local now = logical_ms(state)

redis.call('ZREM', leases, '') -- allowed on a full server, and then so is the rest
local renewed = {}
for i = 2, #ARGV do
  local held = redis.call('ZSCORE', leases, ARGV[i])
  if held then
    redis.call('ZADD', leases, 'XX', math.max(tonumber(held), now + lease), ARGV[i])
  end
  renewed[#renewed + 1] = held and '1' or '0'
end
return table.concat(renewed)
