-- The permit that is first in the line, or nil.
local function head_of_line(limiter)
  return redis.call('ZRANGE', limiter.line, 0, 0)[1]
end
