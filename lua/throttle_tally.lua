--[[
throttle_tally: count what a limiter in shadow would have refused.

KEYS[1] state    HASH    the limiter's clock, sums and lanes

ARGV[1] calls    to add, 0 to read only

Returns how many calls it would have refused since it was last idle.
]]
local calls = tonumber(ARGV[1])
local shadowed = tonumber(redis.call('HGET', KEYS[1], 'shadowed') or 0)
if calls > 0 and redis.call('EXISTS', KEYS[1]) == 1 then
  shadowed = shadowed + calls
  redis.call('HSET', KEYS[1], 'shadowed', shadowed)
end
return shadowed
