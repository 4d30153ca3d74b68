--[[
debounce_peek: how a key stands. Changes nothing.

KEYS[1] state   HASH    the partition's clock, numbers and counts
KEYS[2] window  HASH    of the key: what is pending, what runs

Returns a line: calls that are pending, their window's id ("-" for none), ms until it is due, the id of the window that runs or is to be
tried again ("-" for none), and its attempt.
]]
-- @include open_partition
local known = redis.call('HMGET', KEYS[2], 'calls', 'window', 'due', 'run', 'run_attempt')
local left = known[3] and math.max(0, known[3] - open_partition(KEYS[1]).now) or 0
return string.format('%s %s %.0f %s %s', known[1] or 0, known[2] or '-', left, known[4] or '-', known[5] or 0)
