-- Let the line, the leases and the tickets live a second longer than the state: were they gone before it, nobody would know any
-- more whose slots are in use. After save_limiter, where one of them may be new.
local function keep_line(limiter)
  local ttl = limiter.expires - limiter.now
  for _, key in ipairs({ limiter.line, limiter.leases, limiter.tickets }) do
    if redis.call('PTTL', key) < ttl then
      redis.call('PEXPIRE', key, ttl + 1000)
    end
  end
end
