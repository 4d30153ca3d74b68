--[[
debounce_items: the payloads that a run has collected, or a dead letter, about 4 MiB at a time. Changes nothing.

KEYS[1] window  HASH    of the key: what is pending, what runs
KEYS[2] items   LIST    payloads, oldest first

ARGV[1] fence   of the run, "" for a dead letter
ARGV[2] start   index of the first, from 0
ARGV[3] count   at most 1,000

Returns the next payloads, one at least where there is any; none where another has the run.
]]
-- @include max_call_bytes
local fence, start, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if fence ~= '' and redis.call('HGET', KEYS[1], 'run_fence') ~= fence then
  return {}
end
local most = max_call_bytes()
local payloads, bytes, step = {}, 0, 1
while #payloads < count and bytes < most do
  local some = redis.call('LRANGE', KEYS[2], start + #payloads, start + math.min(count, #payloads + step) - 1)
  if #some == 0 then
    break
  end
  for _, payload in ipairs(some) do
    if bytes < most then
      payloads[#payloads + 1] = payload
      bytes = bytes + #payload
    end
  end
  -- No more than would fit if they are like those before.
  step = math.max(1, math.min(4 * step, math.floor((most - bytes) * #payloads / math.max(1, bytes))))
end
return payloads
