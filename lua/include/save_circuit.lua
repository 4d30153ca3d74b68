-- Write what has changed, with the reply to call `number` of the caller's lane. It is forgotten a month after its last use. What
-- stands is bounded, so that it goes on where the server is full: a breaker is for bad times.
-- @include change_field
-- @include sweep_lanes
local function save_circuit(circuit, lane, number, reply)
  local state = KEYS[1]
  change_field(circuit, 'seen', circuit.now)
  if lane then
    change_field(circuit, 'lane:' .. lane, number .. ' ' .. circuit.now .. ' ' .. reply)
  end
  redis.call('PEXPIRE', state, 2592000000) -- allowed on a full server, and then so is the rest
  redis.call('HSET', state, unpack(circuit.changes)) -- at most 40
  if circuit.is_new then
    redis.call('PEXPIRE', state, 2592000000)
  end
  if lane and (not circuit.kept or number % 256 == 0) then
    sweep_lanes(state, circuit.now)
  end
  return reply
end
