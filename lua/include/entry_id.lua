-- The id in an entry of a list, "<ms when it was added>:<id>".
local function entry_id(entry)
  return string.match(entry, '^%d+:(.*)$')
end
