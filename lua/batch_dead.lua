--[[
batch_dead: a page of the dead letter, the oldest first, or those of it with these ids; and about 4 MiB of them. Changes nothing.

KEYS[1] dead     HASH  id -> "<ms> <attempts> <lost>", a newline, the error, a newline and the record
KEYS[2] dead_at  ZSET  id -> when it was given up (ms)

ARGV[1] after  how many to pass over
ARGV[2] count  how many at most
ARGV[3..] id

Returns a list: how many it looked at, one at least where there is any; and of each that there is its id and what stands in `dead`.
]]
-- @include hmget_some
local dead, dead_at = KEYS[1], KEYS[2]
local ids = {}
for i = 3, #ARGV do
  ids[#ids + 1] = ARGV[i]
end
if #ids == 0 then
  ids = redis.call('ZRANGE', dead_at, ARGV[1], ARGV[1] + ARGV[2] - 1)
end
local texts = hmget_some(dead, ids)
local answer = { #texts }
for i, text in ipairs(texts) do
  if text then
    answer[#answer + 1], answer[#answer + 2] = ids[i], text
  end
end
return answer
