-- Start the log of a period from the uses that another log knows: of the shortest period that is longer, else the longest.
-- @include each_use
local function seed_log(log, sources, now)
  local source
  for _, other in ipairs(sources) do
    if not source then
      source = other
    elseif source.period < log.period then
      source = other.period > source.period and other or source
    elseif other.period >= log.period and other.period < source.period then
      source = other
    end
  end
  if not source then
    return
  end
  local slot, sum
  each_use(source, function(time, cost)
    if time + log.period <= now then
      return true
    end
    local slot_end = math.ceil(time / log.precision) * log.precision
    if slot and slot_end ~= slot then
      redis.call('RPUSH', log.key, slot .. ':' .. sum)
      sum = 0
    end
    slot, sum = slot_end, (sum or 0) + cost
  end)
  if slot then
    redis.call('RPUSH', log.key, slot .. ':' .. sum)
  end
end
