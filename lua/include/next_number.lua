-- A number that only rises in this partition, as text: a window's id, or a run's fence. It is a time in microseconds as well,
-- so that it rises even where the state was lost meanwhile. With save_partition to follow.
local function next_number(part)
  part.fence = math.max(part.fence + 1, part.now * 1000)
  return string.format('%.0f', part.fence)
end
