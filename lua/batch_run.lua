--[[
batch_run: begin a run, or go on with one that has begun. Safe to repeat.

KEYS[1] run  HASH  how the run stands: total, done, failed, retried, began (ms), updated (ms)

ARGV[1] total  how many items it has
ARGV[2] ttl    ms that it is kept after its last outcome

Returns the total on record: another one where another run has the name.
]]
-- @include server_ms
local run, total, ttl = KEYS[1], ARGV[1], tonumber(ARGV[2])
local now = server_ms()

local known = redis.call('HGET', run, 'total')
if not known then
  redis.call('HSET', run, 'total', total, 'began', now)
end
redis.call('PEXPIRE', run, ttl)
return known or total
