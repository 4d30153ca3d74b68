--[[
breaker_tell: somebody sets the state by hand. Safe to repeat, and allowed on a full server.

KEYS[1] state   HASH    the state, its number, counts and clock; lane of a client -> its latest call and reply
KEYS[2] probes  ZSET    id of a call that tries a half-open breaker -> when its lease ends (ms)
KEYS[3] last    LIST    outcomes of the last calls, oldest first, where those are counted

ARGV[1] lane       of the caller
ARGV[2] number     of this call in its lane, rising
ARGV[3] to         "closed", "forced_open" or "disabled"; "reset" for closed, with all counts forgotten and whatever is not ours
ARGV[4] options    all the rules as text, for who reads them

Returns a line: the state, its number; or "stale" for a call that its caller gave up.
]]
-- @include answer_of
-- @include read_circuit
-- @include turn_circuit
-- @include save_circuit
local state, lane, number, to = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]

if to == 'reset' and not tonumber(redis.pcall('HLEN', state)) then
  redis.call('DEL', state) -- a key that is not ours
end
local circuit = read_circuit(lane)
local known = answer_of(circuit.kept, number)
if known then
  return known
end
if to == 'reset' then
  redis.call('DEL', state)
  circuit.is_new, circuit.opened, to = true, 0, 'closed'
  change_field(circuit, 'offset', circuit.offset)
end
turn_circuit(circuit, to)
change_field(circuit, 'options', ARGV[4])
change_field(circuit, 'told', circuit.now)
return save_circuit(circuit, lane, number, circuit.state .. ' ' .. circuit.generation)
