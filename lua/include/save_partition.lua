-- Write back a partition's clock and numbers, and what start_run noted. The state lives as long as there is work, and a day longer.
local function save_partition(part)
  local fields = { 'seen', part.now, 'offset', part.offset, 'fence', string.format('%.0f', part.fence) }
  if part.last_run then
    fields[7], fields[8], fields[9], fields[10] = 'last_run', part.last_run, 'runs', string.format('%.0f', part.runs)
  end
  redis.call('HSET', part.state, unpack(fields))
end
