-- Forget the calls of a time-based window of `length` ms that are over: in tenths, so that a call counts for at least nine tenths of
-- it, and never longer. `slot` is what counts now, "from calls failures slow"; `slots` are those before it, oldest first.
local function roll_window(circuit, length)
  local now = circuit.now
  local start, calls, failures, slow = string.match(circuit.slot, '^(%d+) (%d+) (%d+) (%d+)$')
  start = tonumber(start)
  if start and now < start + length / 10 and now < circuit.oldest + length then
    return
  end
  local slots, oldest = {}, nil
  circuit.calls, circuit.failures, circuit.slow = 0, 0, 0
  local function keep(from, each, failed, slowly)
    if from + length <= now then
      return false
    end
    oldest = oldest or tonumber(from)
    circuit.calls = circuit.calls + each
    circuit.failures = circuit.failures + failed
    circuit.slow = circuit.slow + slowly
    return true
  end
  for each in string.gmatch(circuit.slots, '%S+') do
    if keep(string.match(each, '^(%d+):(%d+):(%d+):(%d+)$')) then
      slots[#slots + 1] = each
    end
  end
  if start and keep(start, calls, failures, slow) and now >= start + length / 10 then
    slots[#slots + 1] = string.gsub(circuit.slot, ' ', ':')
    start = nil
  elseif start and start + length <= now then
    start = nil
  end
  circuit.slots = table.concat(slots, ' ')
  circuit.oldest = oldest or now
  if not start then
    circuit.slot = string.format('%.0f 0 0 0', now)
  end
end
