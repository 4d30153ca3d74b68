--[[
batch_run: begin a run, or go on with one that has begun. Safe to repeat.

KEYS[1] run      HASH    how the run stands: total, digest, done, failed, retried, began (ms), updated (ms)
KEYS[2] counted  STRING  two bits for each of its items: 1 done, 2 failed

ARGV[1] total   how many items it has
ARGV[2] digest  of its items
ARGV[3] ttl     ms that it is kept after its last outcome

Returns the total and the digest on record, with a space: others where another run has the name.
]]
-- @include server_ms
local run, counted, total, digest, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = server_ms()

local known = redis.call('HMGET', run, 'total', 'digest')
if not known[1] then
  redis.call('HSET', run, 'total', total, 'digest', digest, 'began', now)
  redis.call('DEL', counted)
end
redis.call('PEXPIRE', run, ttl)
redis.call('PEXPIRE', counted, ttl)
return (known[1] or total) .. ' ' .. (known[2] or digest)
