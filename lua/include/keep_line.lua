-- Let the line, the leases and the tickets live a minute longer than any lease of the caller's.
local function keep_line(limiter)
  local ttl = limiter.lease + 60000
  for _, key in ipairs({ limiter.line, limiter.leases, limiter.tickets }) do
    if redis.call('PTTL', key) < ttl / 2 then
      redis.call('PEXPIRE', key, ttl)
    end
  end
end
