-- How many ms until the next lease ends, if nobody renews or releases one before. (Of one that its holder has not come for yet,
-- the beat of others will tell.)
-- @include read_ticket
local function wait_for_slots(limiter)
  local ends = redis.call('ZRANGE', limiter.leases, 0, 7, 'WITHSCORES')
  for i = 1, #ends, 2 do
    local ticket = read_ticket(limiter, ends[i])
    if ticket and ticket.state == 'held' then
      return math.max(1, ends[i + 1] - limiter.now + 1)
    end
  end
  return limiter.lease
end
