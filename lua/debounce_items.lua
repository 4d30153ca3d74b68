--[[
debounce_items: the payloads that a run has collected, or a dead letter, a thousand at a time. Changes nothing.

KEYS[1] window  HASH    of the key: what is pending, what runs
KEYS[2] items   LIST    payloads, oldest first

ARGV[1] fence   of the run, "" for a dead letter
ARGV[2] start   index of the first, from 0
ARGV[3] count   at most 1,000

Returns the payloads; none where another has the run.
]]
local fence, start, count = ARGV[1], ARGV[2], ARGV[3]
if fence ~= '' and redis.call('HGET', KEYS[1], 'run_fence') ~= fence then
  return {}
end
return redis.call('LRANGE', KEYS[2], start, start + count - 1)
