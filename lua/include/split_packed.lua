-- The parts of a packed text, whose lengths are listed with spaces: one long argument costs less than a thousand short ones.
local function split_packed(lengths, packed)
  local parts, at = {}, 1
  for length in string.gmatch(lengths, '%d+') do
    parts[#parts + 1] = string.sub(packed, at, at + length - 1)
    at = at + length
  end
  return parts
end
