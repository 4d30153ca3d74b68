-- What callers with functions have in Redis lives for `ttl` ms from now at least: they ask once a second while they live.
local function keep_closures(ttl, names)
  for _, name in ipairs(names) do
    if redis.call('PTTL', name) < ttl / 2 then
      redis.call('PEXPIRE', name, ttl)
    end
  end
end
