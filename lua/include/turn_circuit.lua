-- Have a circuit go over to another state, under a number that only rises, also where the state was lost meanwhile: the results of
-- calls that began before do not count in it. An open one keeps the counts that opened it, to be read; in a closed one whoever counts
-- first decides which kind of window it is. With save_circuit to follow.
-- @include change_field
local function turn_circuit(circuit, to, open_for, growth, open_max, jitter)
  local generation = math.max(circuit.now, (tonumber(circuit.generation) or 0) + 1)
  if to == 'open' then
    local reopened = circuit.state == 'half_open' and circuit.reopened + 1 or 0
    if reopened > 0 then
      open_for = math.min(open_for * growth ^ reopened, open_max)
      -- Up to the jitter longer: breakers that opened together do not probe together. The share comes from the breaker, and from the
      -- lane and number of this call, of which a part is random and nobody has the same.
      local share = tonumber(string.sub(redis.sha1hex(KEYS[1] .. ' ' .. ARGV[1] .. ':' .. ARGV[2]), 1, 8), 16) / 4294967296
      open_for = open_for * (1 + jitter / 1000000 * share)
    end
    change_field(circuit, 'open_until', circuit.now + math.ceil(open_for))
    change_field(circuit, 'reopened', reopened)
    change_field(circuit, 'opened', circuit.opened + 1)
  else
    if to ~= 'half_open' then
      change_field(circuit, 'reopened', 0)
    end
    change_field(circuit, 'calls', 0)
    change_field(circuit, 'failures', 0)
    change_field(circuit, 'slow', 0)
    change_field(circuit, 'slot', '')
    change_field(circuit, 'slots', '')
    change_field(circuit, 'window', '')
  end
  change_field(circuit, 'state', to)
  change_field(circuit, 'generation', string.format('%.0f', generation))
  change_field(circuit, 'since', circuit.now)
  redis.call('DEL', KEYS[2], KEYS[3])
end
