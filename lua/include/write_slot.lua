-- A minute or an hour as read_slot reads it.
local function write_slot(part)
  local state = part.state == '' and '' or ' ' .. part.state
  return string.format('%.0f %s %s %s %s %s%s\n', part.slot, part.count, part.errors, part.sum, part.min, part.max, state) .. part.packs
end
