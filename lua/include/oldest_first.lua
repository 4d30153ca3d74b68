-- An iterator over a log from its oldest use on, after skipping `skip`: gives time and cost, then nil. It reads the list in
-- growing chunks: most calls need one entry, a call after a pause needs hundreds. The open slot comes last.
-- @include split_use
local function oldest_first(log, skip)
  local chunk, left, size, open = nil, 0, 2, log.newest > 0
  return function()
    if left == 0 and chunk ~= false then
      chunk = redis.call('LRANGE', log.key, -(skip + size), -(skip + 1))
      left = #chunk
      skip = skip + left
      size = math.min(size * 4, 256)
      if left == 0 then
        -- Of the skipped uses the open slot may be the last.
        chunk, open = false, open and redis.call('LLEN', log.key) >= skip
      end
    end
    if left == 0 then
      if open then
        open = false
        return log.newest, log.newest_cost
      end
      return nil
    end
    left = left - 1
    return split_use(chunk[left + 1])
  end
end
