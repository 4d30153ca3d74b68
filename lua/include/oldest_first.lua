-- An iterator over a log from its oldest entry on, after skipping `skip`: gives time and cost, then nil.
-- It reads in growing chunks: most calls need one entry, a call after a pause needs hundreds.
-- @include split_use
local function oldest_first(key, skip)
  local chunk, left, size = nil, 0, 1
  return function()
    if left == 0 then
      chunk = redis.call('LRANGE', key, -(skip + size), -(skip + 1))
      left = #chunk
      if left == 0 then
        return nil
      end
      skip = skip + left
      size = math.min(size * 4, 256)
    end
    left = left - 1
    return split_use(chunk[left + 1])
  end
end
