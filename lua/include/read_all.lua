-- Read the limiters that ARGV names from `at` on, in turn: of each how many logs it has, cost, weight, queue, and its terms as
-- read_limiter reads them; their KEYS follow each other. Returns them; or nil and the reply that sends the caller elsewhere.
-- @include read_limiter
-- @include save_limiter
local function read_all(at, as_is)
  local limiters, base = {}, 0
  while ARGV[at] do
    local count = tonumber(ARGV[at])
    local limiter = read_limiter(at + 4, as_is, base, count)
    if limiter.elsewhere and not as_is then
      for _, other in ipairs(limiters) do
        if other.dirty then
          save_limiter(other)
        end
      end
      return nil, 'elsewhere ' .. (#limiters + 1) .. ' ' .. limiter.elsewhere
    end
    limiter.cost, limiter.weight, limiter.queue = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    limiters[#limiters + 1] = limiter
    at = at + 11 + 3 * count
    base = base + 7 + count
  end
  return limiters
end
