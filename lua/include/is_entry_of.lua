-- Whether an entry, "<ms when it was added>:<id>", is that of the item of this record, "<ms when it was added> ...": another item
-- of the same id may have been cancelled, and its entry is left.
local function is_entry_of(entry, record)
  local stamp = string.sub(entry, 1, string.find(entry, ':', 1, true) - 1)
  return string.sub(record, 1, #stamp) == stamp
end
