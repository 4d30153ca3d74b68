-- Give a field of a circuit another value, for save_circuit to write.
local function change_field(circuit, field, value)
  circuit[field] = value
  local changes = circuit.changes
  changes[#changes + 1] = field
  changes[#changes + 1] = value
end
