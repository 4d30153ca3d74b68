-- Forget the calls of a time-based window of `length` ms that are over: in tenths, so that a call counts for at least nine tenths of
-- it, and never longer. `slot` is since when is counted now; `slots` are those before it, "from:calls:failures:slow", oldest first:
-- what is not in these is in that. Whether anything changed.
local function roll_window(circuit, length)
  local now, slot = circuit.now, tonumber(circuit.slot)
  if slot and now < slot + length / 10 and now < circuit.oldest + length then
    return false
  end
  local slots, oldest = {}, nil
  local rest = { circuit.calls, circuit.failures, circuit.slow }
  circuit.calls, circuit.failures, circuit.slow = 0, 0, 0
  local function keep(from, calls, failures, slow)
    if from + length <= now then
      return false
    end
    oldest = oldest or tonumber(from)
    circuit.calls = circuit.calls + calls
    circuit.failures = circuit.failures + failures
    circuit.slow = circuit.slow + slow
    return true
  end
  for each in string.gmatch(circuit.slots, '%S+') do
    local from, calls, failures, slow = string.match(each, '^(%d+):(%d+):(%d+):(%d+)$')
    rest = { rest[1] - calls, rest[2] - failures, rest[3] - slow }
    if keep(from, calls, failures, slow) then
      slots[#slots + 1] = each
    end
  end
  if slot and keep(slot, rest[1], rest[2], rest[3]) and now >= slot + length / 10 then
    slots[#slots + 1] = string.format('%.0f:%.0f:%.0f:%.0f', slot, rest[1], rest[2], rest[3])
    slot = nil
  elseif slot and slot + length <= now then
    slot = nil
  end
  circuit.slots = table.concat(slots, ' ')
  circuit.oldest = oldest or now
  circuit.slot = slot or now
  return true
end
