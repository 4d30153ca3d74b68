-- How many callers wait: in the line, and for places that they have already.
-- @include count_waiting
local function count_line(limiter)
  return redis.call('ZCARD', limiter.line) + count_waiting(limiter)
end
