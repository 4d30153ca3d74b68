-- The process that a permit id names: all before its number.
local function process_of(id)
  return string.match(id, '^(.*):') or id
end
