-- The sums of a log, as the state keeps them: cost in use, time of the oldest use that counts (0: look),
-- time and cost of the open slot.
local function split_sums(text)
  local used, oldest, newest, newest_cost = string.match(text or '0 0 0 0', '^(%S+) (%S+) (%S+) (%S+)$')
  return tonumber(used), tonumber(oldest), tonumber(newest), tonumber(newest_cost)
end
