--[[
batch_waiting: the items of a partition that wait, a page of each of its lists. Changes nothing. Some may have ended since.

KEYS[1] later  ZSET  entry -> when it is to run again (ms)
KEYS[2..] list LIST  entries that are due again, or wait for their first run

ARGV[1] start  position of the first
ARGV[2] count  how many of each list

Returns a list of ids.
]]
-- @include entry_id
local first, last = tonumber(ARGV[1]), ARGV[1] + ARGV[2] - 1
local ids = {}
for i, list in ipairs(KEYS) do
  local entries = i == 1 and redis.call('ZRANGE', list, first, last) or redis.call('LRANGE', list, first, last)
  for _, entry in ipairs(entries) do
    ids[#ids + 1] = entry_id(entry)
  end
end
return ids
