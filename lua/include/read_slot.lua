-- What stands in Redis of a minute or an hour: "slot count errors sum min max", behind a minute that its hour does not have yet
-- "open" ("both": nor has it the one before), and on the next line the packed buckets. nil where there is none.
local function read_slot(text)
  local slot, count, errors, sum, min, max, state, packs =
    string.match(text or '', '^(%d+) (%d+) (%d+) (%S+) (%S+) (%S+) ?(%a*)\n(.*)$')
  return slot and {
    slot = tonumber(slot), count = count, errors = errors, sum = sum, min = min, max = max, state = state, packs = packs
  }
end
