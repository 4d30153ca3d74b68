--[[
throttle_acquire_many: what many calls of throttle_acquire would do one after the other, in one: the calls of the tasks or
threads of a process that come at the same time. Each is granted or refused by itself. Safe to repeat.

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

Returns the line of numbers that include/describe.lua explains, as it stands after the last call. Alone, it says that all
calls are granted, at that time; else a line follows: for each run of calls with the same answer how many, 1 or 0 for granted,
the time (ms), the wait (ms), and what it waits for, with spaces. Or "solo": they have to be made one by one, since there are
leases, priorities, a line or places that were given up. Or "register <periods>", "update <version> <fields>" or "stale" as
throttle_acquire does.
]]
-- @include plain_grant
local plain = ARGV[12] == '0' and plain_grant() -- those that lease are made one by one
if plain then
  return plain
end

-- @include recall
-- @include read_limiter
-- @include remember
-- @include save_limiter
-- @include start_cursors
-- @include try_place
-- @include note_wait
-- @include count_waiting
-- @include take_place
-- @include describe
local lane, number, id, queue = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[9])

local known = recall(lane, number)
if known then
  return known
end
local limiter = read_limiter(10)
if limiter.elsewhere then
  return limiter.elsewhere
end
local now = limiter.now
if limiter.slots > 0 or limiter.lined or limiter.ranked > now or (limiter.busy and redis.call('EXISTS', limiter.holes) == 1) then
  if limiter.dirty then
    save_limiter(limiter)
  end
  return 'solo'
end
start_cursors(limiter)
local function take(cost, time)
  if not limiter.granted then
    -- A full server refuses this first write: then nothing has been written.
    redis.call('HSET', limiter.state, 'seen', now + 1)
  end
  take_place(limiter, { cost = cost, weight = 0 }, time)
  limiter.granted = time > now and time or now + 1
end

-- All at once, where that fits and starts no cooldown on the way.
local total, starts_cooldown = tonumber(ARGV[4]), false
for _, log in ipairs(limiter.logs) do
  starts_cooldown = starts_cooldown or (limiter.burst > 0 and log.period == 1000 and log.used + total >= limiter.burst)
end
if not starts_cooldown and try_place(limiter, total, now) <= now then
  take(total, now)
  save_limiter(limiter, limiter.granted)
  return remember(limiter, lane, number, describe(limiter, 1, now + 1, total, 0, count_waiting(limiter), 0), true)
end

local runs, callers, waiting, refused = {}, 0, count_waiting(limiter), nil
local function answer(is_granted, time, wait, reason)
  local text = string.format('%d %.0f %.0f %d', is_granted, time, wait, reason)
  local last = runs[#runs]
  if last and last[2] == text then
    last[1] = last[1] + 1
  else
    runs[#runs + 1] = { 1, text }
  end
  callers = callers + 1
end
for count, cost, patience in string.gmatch(ARGV[5], '(%d+) (%d+) (%S+)') do
  cost, patience = tonumber(cost), tonumber(patience)
  for _ = 1, tonumber(count) do
    if refused and refused.cost == cost and refused.patience >= patience and patience >= 0 then
      answer(0, refused.time, refused.time - now, refused.reason)
    else
      local latest = patience < 0 and 1e15 or now + patience
      local time, reason = try_place(limiter, cost, latest)
      if time > latest then
        refused = { cost = cost, patience = patience, time = time, reason = reason or 0 }
        answer(0, time, time - now, reason or 0)
      elseif time > now and queue >= 0 and waiting >= queue then
        answer(0, time, time - now, -4)
      else
        take(cost, time)
        refused = nil -- what is refused from now on would come later
        if time > now then
          waiting = note_wait(limiter, callers == 0 and id or id .. '.' .. callers, time)
        end
        answer(1, limiter.granted, math.max(0, time - now), reason or 0)
      end
    end
  end
end
if limiter.granted or limiter.dirty then
  save_limiter(limiter, limiter.granted)
end
local words = {}
for i, run in ipairs(runs) do
  words[i] = run[1] .. ' ' .. run[2]
end
local line = describe(limiter, 1, limiter.granted or now, 0, 0, waiting, 0) .. '\n' .. table.concat(words, ' ')
return remember(limiter, lane, number, line, true)
