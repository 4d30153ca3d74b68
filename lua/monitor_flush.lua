--[[
monitor_flush: add what a process has measured to what the fleet has, by the minute. Safe to repeat for an hour, under the lane's number.

KEYS[1] state   HASH   the monitor's clock, and the latest call of each process
KEYS[2] names   ZSET   encoded name, with its labels -> the beginning of the last minute in which it was measured (ms)
KEYS[3..] the minutes and the hours of each name, and the label sets of all names of its base: the last a ZSET as names, of those with
          labels; the others LISTs, newest first, of "slot count errors sum min max" (a slot is a number of
          minutes or hours since 1970; seconds), "open" behind a minute that its hour does not have yet ("both": nor the one
          before), and packed buckets after a newline

ARGV[1] lane    of the process's monitor
ARGV[2] number  of this call in its lane, rising
ARGV[3] most    names that the monitor may have
ARGV[4] ttl     ms after which a name that is not measured any more is forgotten
ARGV[5..] for each name: name (as in names), count (of operations), errors (of these), sum (seconds), min (likewise), max (likewise), packs (buckets)

Returns the numbers of the names that were refused, since there are too many, with spaces between; then, after a semicolon, those of
the names for monitor_pack; or "stale" for a call that its caller gave up.
]]
-- @include open_partition
-- @include answer_of
-- @include sweep_lanes
-- @include read_slot
-- @include add_to_minute
local state, names = KEYS[1], KEYS[2]
local lane, number, most, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local monitor = open_partition(state, lane)
local known = answer_of(monitor.kept, number)
if known then
  return known
end
local now = monitor.now
local parts, refused, size = {}, {}, redis.call('ZCOUNT', names, now - ttl, '+inf')
for i = 1, (#KEYS - 2) / 3 do
  local at, newest = 7 * i - 2, read_slot(redis.call('LINDEX', KEYS[3 * i], 0))
  local is_new = not newest and tonumber(redis.call('ZSCORE', names, ARGV[at]) or 0) < now - ttl
  if is_new and size >= most then
    refused[#refused + 1] = i
  else
    size = size + (is_new and 1 or 0)
    parts[#parts + 1] = {
      number = i, minutes = KEYS[3 * i], hours = KEYS[3 * i + 1], sets = KEYS[3 * i + 2],
      name = ARGV[at], newest = newest, slot = math.floor(now / 60000),
      count = ARGV[at + 1], errors = ARGV[at + 2], sum = ARGV[at + 3], min = ARGV[at + 4], max = ARGV[at + 5], packs = ARGV[at + 6]
    }
  end
end

-- A full server refuses this first write: then nothing has been written.
redis.call('HSET', state, 'seen', now, 'offset', monitor.offset)
local to_pack = {}
for _, part in ipairs(parts) do
  if add_to_minute(names, now, ttl, part) then
    to_pack[#to_pack + 1] = part.number
  end
end
local reply = table.concat(refused, ' ') .. ';' .. table.concat(to_pack, ' ')
redis.call('HSET', state, 'lane:' .. lane, number .. ' ' .. now .. ' ' .. reply)
redis.call('ZREMRANGEBYSCORE', names, '-inf', now - ttl)
redis.call('PEXPIRE', names, ttl)
redis.call('PEXPIRE', state, ttl)
if not monitor.kept or number % 64 == 0 then
  sweep_lanes(state, now - 3540000) -- those that were silent for an hour
end
return reply
