--[[
breaker_undo: take back call `number` of a lane, whose reply its caller will never read because it was interrupted, or did not wait longer.
A probe is given back; a call that has not arrived yet will find its number used and do nothing. Safe to repeat, and allowed on a full
server.

KEYS[1] state   HASH    the state, its number, counts and clock; lane of a client -> its latest call and reply
KEYS[2] probes  ZSET    id of a call that tries a half-open breaker -> when its lease ends (ms)
KEYS[3] last    LIST    outcomes of the last calls, oldest first, where those are counted

ARGV[1] lane       of the caller
ARGV[2] number     of the call
ARGV[3] open_for   as breaker_allow, whose arguments these are
ARGV[4] growth     as breaker_allow
ARGV[5] open_max   as breaker_allow
ARGV[6] jitter     as breaker_allow
ARGV[7] probes     as breaker_allow
ARGV[8] patience   as breaker_allow
ARGV[9] lease      as breaker_allow
ARGV[10] options    as breaker_allow

Returns "undone", or "stale" where the lane is further already.
]]
-- @include answer_of
-- @include read_circuit
-- @include save_circuit
local lane, number = ARGV[1], tonumber(ARGV[2])

redis.call('ZREM', KEYS[2], lane .. ':' .. number) -- whoever asks does not use it
local circuit = read_circuit(lane)
if answer_of(circuit.kept, number) == 'stale' then
  return 'stale'
end
return save_circuit(circuit, lane, number, 'undone')
