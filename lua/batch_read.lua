--[[
batch_read: the outcomes that have come for an adder since it last read, about 4 MiB of them, and how its run stands. What a process
has read is dropped from its stream; that of a run stays, for whoever goes on with it, and lives on while it is looked at.

KEYS[1] outcomes  HASH    id -> what became of it
KEYS[2] reply     STREAM  of ids with outcomes, for this adder
KEYS[3] gone      STREAM  ids that ended without a run, of all adders
KEYS[4] run       HASH    how the run stands, where the adder is one
KEYS[5] counted   STRING  two bits for each of its items: 1 done, 2 failed

ARGV[1] after      id of the last entry that was read of the first stream, followed by "/" and how many of its ids were, if not all
ARGV[2] after_gone likewise of the second
ARGV[3] ttl        ms that the run is kept

Returns a list: how far both streams were read, as above; 1 if there is more to read at once, else 0; the run's total, done,
failed, retried, begin (ms) and now (ms), with spaces, "" for none; and each item's id and outcome ("" if it is forgotten).
]]
-- @include server_ms
-- @include hmget_some
local outcomes, reply, gone, run, counted = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, ids, last, more, entries = server_ms(), {}, { ARGV[1], ARGV[2] }, '0', {}

for n, stream in ipairs({ reply, gone }) do
  local after, place = string.match(last[n], '^([^/]+)/?(%d*)$')
  local from = place == '' and '(' .. after or after
  while true do
    local entry = redis.call('XRANGE', stream, from, '+', 'COUNT', 1)[1]
    if not entry then
      break
    elseif #ids >= 500 then
      more = '1'
      break
    end
    local number, passed = 0, entry[1] == after and tonumber(place) or 0
    for id in string.gmatch(entry[2][2], '%S+') do
      number = number + 1
      if number > passed then
        ids[#ids + 1] = id
      end
    end
    entries[#entries + 1] = { stream = n, id = entry[1], passed = passed, last = #ids }
    from = '(' .. entry[1]
  end
end
local values = hmget_some(outcomes, ids)
local first = 0
for _, entry in ipairs(entries) do
  if entry.last <= #values then
    last[entry.stream] = entry.id
  elseif first < #values then
    last[entry.stream] = string.format('%s/%.0f', entry.id, entry.passed + #values - first)
  end
  first = entry.last
end
if #values < #ids then
  more = '1'
end
local standing = ''
local found = redis.call('HMGET', run, 'total', 'done', 'failed', 'retried', 'began')
if found[1] then
  standing = string.format('%s %s %s %s %s %.0f', found[1], found[2] or 0, found[3] or 0, found[4] or 0, found[5] or 0, now)
  redis.call('PEXPIRE', run, tonumber(ARGV[3]))
  redis.call('PEXPIRE', counted, tonumber(ARGV[3]))
end
if not string.find(reply, '}:reply:run:') and last[1] ~= '0-0' then
  redis.call('XTRIM', reply, 'MINID', '~', string.match(ARGV[1], '^[^/]+')) -- not what this call read: its reply may be lost
end
local answer = { last[1], last[2], more, standing }
for i, value in ipairs(values) do
  answer[#answer + 1], answer[#answer + 2] = ids[i], value or ''
end
return answer
