-- Charge `ticket` at `time`, and lease its slots until `ends`, nil for no lease. Logs a use now at the next whole millisecond,
-- since `now` was rounded down. More may be taken in the same call. A fence is a time as well: so it rises even where the state
-- was lost meanwhile. With save_limiter to follow, and a write before that a full server refuses.
-- @include log_grant
-- @include look_again
local function take_place(limiter, ticket, time, ends)
  if time <= limiter.now then
    time = limiter.now + 1
  else
    limiter.last = time
  end
  for _, log in ipairs(limiter.logs) do
    log_grant(limiter, log, time, ticket.cost)
    if log.over then
      redis.call('DEL', log.key) -- no more is to be known of what is over, or another use of this call would be
      log.over, log.next, log.passed = nil, look_again, 0
    end
    log.stale = true
  end
  ticket.time = time
  if not ends then
    return
  end
  limiter.granted = math.max(limiter.granted or 0, time, ends)
  if limiter.slots > 0 then
    limiter.fence = math.max(limiter.fence + 1, limiter.now * 1000)
    ticket.fence = limiter.fence
    limiter.in_use = limiter.in_use + ticket.weight
  else
    ticket.weight = 0
  end
  redis.call('ZADD', limiter.leases, ends, ticket.id)
end
