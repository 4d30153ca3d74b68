-- What every limit has free now of `wanted`; at least `least`, which its caller may have to wait for. With the cursors started.
local function free_cost(limiter, wanted, least)
  local free = wanted
  for _, log in ipairs(limiter.logs) do
    if log.limit >= 0 then
      free = math.min(free, log.limit - log.used)
    end
  end
  return math.max(free, least)
end
