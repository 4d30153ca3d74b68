--[[
debounce_metrics: how a partition stands. Changes nothing.

KEYS[1] state   HASH    the partition's clock, numbers and counts
KEYS[2] due     ZSET    encoded key -> when it is to be run (ms)
KEYS[3] leases  ZSET    encoded key -> when the lease of its run ends (ms)
KEYS[4] dead    ZSET    window id -> when it died (ms)

Returns a line: when it was last called and when a run was last started (ms, 0 for never); how many keys wait to be run, how many
runs are under way; calls, runs, done, retried and dead ones as counted; dead letters that are kept.
]]
local known = redis.call('HMGET', KEYS[1], 'last_call', 'last_run', 'calls', 'runs', 'done', 'retried', 'dead')
for i = 1, 7 do
  known[i] = known[i] or '0'
end
return string.format('%s %s %.0f %.0f %s %s %s %s %s %.0f',
  known[1], known[2], redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[3]), known[3], known[4], known[5], known[6], known[7],
  redis.call('ZCARD', KEYS[4]))
