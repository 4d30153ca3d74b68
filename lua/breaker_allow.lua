--[[
breaker_allow: may a call pass? A closed breaker says so without any write. Safe to repeat, and allowed on a full server.

KEYS[1] state   HASH    the state, its number, counts and clock; lane of a client -> its latest call and reply
KEYS[2] probes  ZSET    id of a call that tries a half-open breaker -> when its lease ends (ms)
KEYS[3] last    LIST    outcomes of the last calls, oldest first, where those are counted

ARGV[1] lane       of the caller; with the number it is the id of a probe
ARGV[2] number     of this call in its lane, rising
ARGV[3] open_for   ms that it is open
ARGV[4] growth     factor of that, each time that it opens again
ARGV[5] open_max   ms that it is open at most, without the jitter
ARGV[6] jitter     by which that may be longer when it opens again, in millionths
ARGV[7] probes     that a half-open one lets through
ARGV[8] patience   ms that the last probe may take: then a half-open one opens again
ARGV[9] lease      ms that a probe has unless it is renewed
ARGV[10] options    all the rules as text, for who reads them

Returns a line: "pass", "probe" or "refuse"; the state; its number; then the id of the probe, or ms until it is worth to come
back; and after "\n!" the rules of another process, told within a minute, where they differ; or "stale" for a call that its caller gave up.
]]
-- @include plain_allow
local plain = plain_allow()
if plain then
  return plain
end

-- @include read_circuit
-- @include turn_circuit
-- @include save_circuit
local probes, lane, number = KEYS[2], ARGV[1], tonumber(ARGV[2])
local open_for, growth, open_max, jitter = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local half_open_calls, patience, lease = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local circuit = read_circuit(lane)
local now, wait = circuit.now, open_for
local function tell_options()
  change_field(circuit, 'options', ARGV[10])
  change_field(circuit, 'told', now)
end

if circuit.is_new then
  turn_circuit(circuit, 'closed')
  tell_options()
elseif circuit.state == 'closed' then
  tell_options()
elseif circuit.state == 'open' and now >= circuit.open_until then
  turn_circuit(circuit, 'half_open')
  tell_options()
end
if circuit.state == 'disabled' or circuit.state == 'closed' then
  return save_circuit(circuit, lane, number, 'pass ' .. circuit.state .. ' ' .. circuit.generation)
end
if circuit.state == 'half_open' then
  redis.call('ZREMRANGEBYSCORE', probes, '-inf', now) -- whose process is gone
  if redis.call('ZCARD', probes) + circuit.calls < half_open_calls then
    local id = lane .. ':' .. number
    change_field(circuit, 'tried', now)
    save_circuit(circuit, lane, number, 'probe half_open ' .. circuit.generation .. ' ' .. id)
    redis.call('ZADD', probes, now + lease, id)
    redis.call('PEXPIRE', probes, 86400000)
    return 'probe half_open ' .. circuit.generation .. ' ' .. id
  end
  if now >= circuit.tried + patience then -- they hang
    turn_circuit(circuit, 'open', open_for, growth, open_max, jitter)
  else
    local first = redis.call('ZRANGE', probes, 0, 0, 'WITHSCORES')[2]
    wait = math.min(1000, first and first - now or 1000) -- any moment now
  end
end
if circuit.state == 'open' then
  wait = circuit.open_until - now
end
change_field(circuit, 'not_permitted', circuit.not_permitted + 1)
return save_circuit(circuit, lane, number, string.format('refuse %s %s %.0f', circuit.state, circuit.generation, wait))
