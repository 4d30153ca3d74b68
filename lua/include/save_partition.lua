-- Write back a partition's clock and numbers. The state lives as long as there is work, and a day longer.
local function save_partition(part)
  redis.call('HSET', part.state, 'seen', part.now, 'offset', part.offset, 'fence', string.format('%.0f', part.fence))
end
