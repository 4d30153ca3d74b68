--[[
cache_count: add what a process has counted. Safe to repeat, and allowed on a full server.

KEYS[1] counts  HASH  of the whole fleet; lane of a client -> its latest call and reply

ARGV[1] lane    of the caller
ARGV[2] number  of this call in its lane, rising
ARGV[3] keep    ms for which the counts are kept from now on
ARGV[4..] name (of a count) by (what is added to it)

Returns a line: the counts, in the order of their names; or "stale" for a call that its caller gave up.
]]
-- @include server_ms
-- @include recall
-- @include keep_reply
local counts, lane, number, keep = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]

local known = recall(lane, number)
if known then
  return known
end
redis.call('PEXPIRE', counts, keep) -- allowed on a full server, and then so is the rest
local totals = {}
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '0' then
    totals[#totals + 1] = redis.call('HGET', counts, ARGV[i]) or '0'
  else
    totals[#totals + 1] = redis.call('HINCRBY', counts, ARGV[i], ARGV[i + 1])
  end
end
local reply = table.concat(totals, ' ')
keep_reply(counts, server_ms(), lane, number, reply)
redis.call('PEXPIRE', counts, keep)
return reply
