--[[
debounce_leave: a holder has no caller left that waits for this key. Where it was the last one, nobody can run what is pending, and it
is dropped. Safe to repeat, and allowed on a full server.

KEYS[1] due      ZSET    encoded key -> when it is to be run (ms)
KEYS[2] window   HASH    of the key: what is pending, what runs
KEYS[3] callers  ZSET    holder of functions -> number of its newest call

ARGV[1] member   the key, encoded
ARGV[2] holder   of functions: one debouncer of that process

Returns 1 where what was pending was dropped, else 0.
]]
local due, window, callers = KEYS[1], KEYS[2], KEYS[3]
local member, holder = ARGV[1], ARGV[2]

redis.call('ZREM', callers, holder)
if redis.call('EXISTS', callers) == 1 or redis.call('HEXISTS', window, 'run') == 1 or redis.call('HEXISTS', window, 'window') == 0 then
  return 0
end
redis.call('HDEL', window, 'window', 'due', 'cap', 'calls', 'edge', 'collect', 'opened', 'last_call', 'last_run', 'lead')
redis.call('ZREM', due, member)
return 1
