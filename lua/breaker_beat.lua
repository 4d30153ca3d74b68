--[[
breaker_beat: a process shows that it lives: the leases of its probes are renewed. Safe to repeat, and allowed on a full server.

KEYS[1] state   HASH    the state, its number, counts and clock
KEYS[2] probes  ZSET    id of a call that tries a half-open breaker -> when its lease ends (ms)

ARGV[1] lease   ms that a probe has unless it is renewed
ARGV[2..] id (of a probe), at most 500

Returns a 1 or 0 for each in turn, as text: whether its lease is renewed.
]]
-- @include read_circuit
-- @include save_circuit
local probes, lease = KEYS[2], tonumber(ARGV[1])

local circuit = read_circuit()
local renewed = ''
for i = 2, #ARGV do
  if tonumber(redis.call('ZSCORE', probes, ARGV[i]) or 0) > circuit.now then
    redis.call('ZREM', probes, ARGV[i]) -- allowed on a full server, and then so is the rest
    redis.call('ZADD', probes, circuit.now + lease, ARGV[i])
    redis.call('PEXPIRE', probes, 86400000)
    renewed = renewed .. '1'
  else
    renewed = renewed .. '0'
  end
end
if not circuit.is_new then
  save_circuit(circuit)
end
return renewed
