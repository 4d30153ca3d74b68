-- What callers with functions have in Redis lives for `ttl` ms from now at least: they ask once a second while they live, and who
-- runs its function shows by a beat that it does.
local function keep_closures(ttl, at)
  for _, name in ipairs({ at.state, at.due, at.leases, at.window, at.window .. ':callers' }) do
    if redis.call('PTTL', name) < ttl / 2 then
      redis.call('PEXPIRE', name, ttl)
    end
  end
end
