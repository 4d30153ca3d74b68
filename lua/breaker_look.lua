--[[
breaker_look: how the breaker stands. Changes nothing.

KEYS[1] state   HASH    the state, its number, counts and clock
KEYS[2] probes  ZSET    id of a call that tries a half-open breaker -> when its lease ends (ms)

ARGV[1] open_for   ms; when it is worth to come back where that stands nowhere
ARGV[2] length     ms that calls are counted, 0 where the last ones are

Returns a line: the state; its number; since when (ms), 0 for no call yet; calls, failures and slow ones that are counted (of an open one:
that opened it); probes under way; how often it opened; calls that were not let through; ms until it is worth to come back.
]]
-- @include read_circuit
-- @include roll_window
local circuit = read_circuit()
local state, length = circuit.state, tonumber(ARGV[2])
if state == 'closed' and circuit.window == 'time' then
  roll_window(circuit, length > 0 and length or circuit.length)
end
local wait = 0
if state == 'open' then
  wait = math.max(0, circuit.open_until - circuit.now)
elseif state == 'forced_open' then
  wait = tonumber(ARGV[1])
end
local since = circuit.is_new and 0 or circuit.since
local under_way = redis.call('ZCOUNT', KEYS[2], '(' .. string.format('%.0f', circuit.now), '+inf')
return string.format('%s %s %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f', state, circuit.generation, since, circuit.calls, circuit.failures,
  circuit.slow, under_way, circuit.opened, circuit.not_permitted, wait)
