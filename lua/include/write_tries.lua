-- As text what read_tries reads.
local function write_tries(tries)
  return string.format('%.0f %.0f %.0f %.0f %s', tries.attempts, tries.lost, tries.repeats, tries.since, tries.by)
end
