--[[
cache_renew: keep the leases of computations that go on. Safe to repeat, and allowed on a full server.

KEYS[1..] entry  HASH  of each

ARGV[1] lease  ms that a lease lives unless it is renewed
ARGV[2..] id (of the computation of each)

Returns for each 1 where the lease is its own yet, else 0.
]]
-- @include server_ms
local lease = tonumber(ARGV[1])

local now = server_ms()
local renewed = {}
for i, entry in ipairs(KEYS) do
  renewed[i] = redis.call('HGET', entry, 'by') == ARGV[i + 1] and 1 or 0
  if renewed[i] == 1 then
    redis.call('PEXPIRE', entry, math.max(redis.call('PTTL', entry), 2 * lease)) -- allowed on a full server, and then so is the rest
    redis.call('HSET', entry, 'until', now + lease)
  end
end
return renewed
