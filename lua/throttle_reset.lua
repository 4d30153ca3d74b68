--[[
throttle_reset: forget all that a limiter has granted: its leases, its places in the line and its lanes with it. What
stays is what the fleet was told, and for a second, from when on a permit can be given back.

KEYS[1] state    HASH    the limiter's clock, sums and lanes
KEYS[2] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[3] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[4] control  HASH    what the fleet was told: another config, a pause
KEYS[5] line     ZSET    permit id -> rank, of those who wait for a lease or by priority
KEYS[6] leases   ZSET    permit id -> when its lease ends (ms)
KEYS[7] tickets  HASH    permit id -> what read_ticket reads; alive:<process> -> when it was heard of (ms)
KEYS[8..] log    LIST    closed slots of one period, newest first: "time:cost", the time (ms) is the end of the slot

ARGV[1] burst      as throttle_acquire
ARGV[2] cooldown   ms
ARGV[3] slots      that leases share, 0 for no leases
ARGV[4] lease      ms that a lease lives unless it is renewed
ARGV[5] version    of what the fleet was told that the caller knows; "-" and ms of a pause where it is in another slot
ARGV[6] config     of the caller as text: a waiter is judged by its own
ARGV[7] periods    of the logs, rising, with spaces
ARGV[8..] period (ms), precision (ms), limit (-1: log only) of each log

Returns how many keys were deleted; or "register <periods>" as throttle_acquire does.
]]
local state = redis.pcall('HMGET', KEYS[1], 'periods', 'seen', 'offset', 'fence') -- a key that is not ours goes with the rest
if state[1] and state[1] ~= ARGV[7] and string.match(state[1], '^%d[%d ]*$') then
  return 'register ' .. state[1]
end
local told = tonumber(redis.pcall('HLEN', KEYS[4])) -- nil where it is not ours
local deleted = 0
for i, key in ipairs(KEYS) do
  if i ~= 4 or not told then -- what the fleet was told stays
    deleted = deleted + redis.call('DEL', key)
  end
end
if tonumber(state[2]) then
  -- Of what was granted before nothing can be given back to what is granted from now on, even within this millisecond.
  local from = state[2] + 1
  redis.call('HSET', KEYS[1], 'seen', from, 'offset', tonumber(state[3]) or 0, 'since', from)
  if tonumber(state[4]) then
    redis.call('HSET', KEYS[1], 'fence', state[4]) -- what comes after is above it
  end
  redis.call('PEXPIRE', KEYS[1], 1000)
end
return deleted
