-- Write back a partition's clock and numbers, and when a run last began, if one did. The state lives as long as there is work, and a
-- day longer.
local function save_partition(part)
  local fields = { 'seen', part.now, 'offset', part.offset, 'fence', string.format('%.0f', part.fence) }
  if part.last_run then
    fields[7], fields[8] = 'last_run', part.last_run
  end
  redis.call('HSET', part.state, unpack(fields))
end
