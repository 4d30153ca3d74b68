-- Whether packs have become much longer than the first of them, so that it is time to make them one.
local function are_long(packs)
  local high, low = string.byte(packs, 1, 2)
  return #packs > 1024 + 2 * ((high or 0) * 256 + (low or 0))
end
