--[[
throttle_undo_many: take back call `number` of a lane to throttle_acquire_many, whose reply its caller will never read because
it was interrupted, as throttle_undo does.

KEYS[1] state    HASH    the limiter's clock, sums and lanes
KEYS[2] waiting  ZSET    permit id -> the time its holder waits for (ms)
KEYS[3] holes    ZSET    "permit id cost" -> the time of a place that was given up (ms)
KEYS[4] control  HASH    what the fleet was told: another config, a pause
KEYS[5] line     ZSET    permit id -> rank, of those who wait for a lease or by priority
KEYS[6] leases   ZSET    permit id -> when its lease ends (ms)
KEYS[7] tickets  HASH    permit id -> what read_ticket reads; alive:<process> -> when it was heard of (ms)
KEYS[8..] log    LIST    closed slots of one period, newest first: "time:cost", the time (ms) is the end of the slot

ARGV[1] lane       of the caller
ARGV[2] number     of this call in its lane, rising
ARGV[3] id         of the first permit; the others' are that and .1, .2 and so on
ARGV[4] cost       of all calls together
ARGV[5] calls      how many, of what cost, and their patience (ms, as throttle_acquire): for each run of like calls, with spaces
ARGV[6] patience   unused
ARGV[7] weight     unused
ARGV[8] priority   0
ARGV[9] queue      as many callers may wait, -1 for any number
ARGV[10] burst      cost within one second that starts a cooldown, 0 for none; then one log has period 1000
ARGV[11] cooldown   ms
ARGV[12] slots      that leases share, 0 for no leases
ARGV[13] lease      ms that a lease lives unless it is renewed
ARGV[14] version    of what the fleet was told that the caller knows; "-" and ms of a pause where it is in another slot
ARGV[15] config     of the caller as text: a waiter is judged by its own
ARGV[16] periods    of the logs, rising, with spaces
ARGV[17..] period (ms), precision (ms), limit (-1: log only) of each log

Returns the cost that came back.
]]
-- @include recall
-- @include read_limiter
-- @include remember
-- @include give_back
-- @include save_limiter
local lane, number, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local known = recall(lane, number)
if known == 'stale' then
  return 0
end
local limiter = read_limiter(10, true)
if limiter.elsewhere then
  return 0 -- the state is gone, and the grants with it
end
local costs = {}
for count, cost in string.gmatch(ARGV[5], '(%d+) (%d+) %S+') do
  for _ = 1, tonumber(count) do
    costs[#costs + 1] = tonumber(cost)
  end
end
local returned, calls = 0, 0
local function back(time)
  local permit = calls == 0 and id or id .. '.' .. calls
  calls = calls + 1
  returned = returned + give_back(limiter, permit, time, limiter.now + 1, costs[calls])
end
local runs = string.match(known or '', '\n(.*)$')
local time = not runs and string.match(known or '', '^1 (%d+) ')
if time then
  for _ = 1, #costs do
    back(tonumber(time))
  end
elseif runs then
  for count, is_granted, at in string.gmatch(runs, '(%d+) (%d) (%d+) %d+ %S+') do
    for _ = 1, tonumber(count) do
      if is_granted == '1' then
        back(tonumber(at))
      else
        calls = calls + 1
      end
    end
  end
end
save_limiter(limiter)
remember(limiter, lane, number, 'undone')
return returned
