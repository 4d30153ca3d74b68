-- When the item of an entry, "<ms when it was added>:<id>", was added.
local function entry_ms(entry)
  return tonumber(string.match(entry, '^%d+'))
end
