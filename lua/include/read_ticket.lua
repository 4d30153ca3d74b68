-- What is known of the permit `id`, or nil: a table of
--   state     waiting in the line; joint: so, but for other limiters as well; called to ask for itself; granted, but its
--             holder has not come for it yet; held; or silent: its process did not answer when it was its turn, and it has
--             its place again once it asks
--   cost, weight
--   rank      in the line
--   since     when it began to wait (ms), of one that did not wait: when it was granted
--   time      from when on it is granted (ms); of one that is called: until when the line waits for it
--   fence     of its lease, 0 without one
--   config    by which it is judged
local function read_ticket(limiter, id)
  local text = redis.call('HGET', limiter.tickets, id)
  if not text then
    return nil
  end
  local state, cost, weight, rank, since, time, fence, config =
    string.match(text, '^(%a+) (%d+) (%d+) (%S+) (%d+) (%d+) (%d+) (.*)$')
  return {
    id = id,
    state = state,
    cost = tonumber(cost),
    weight = tonumber(weight),
    rank = rank,
    since = tonumber(since),
    time = tonumber(time),
    fence = tonumber(fence),
    config = config,
  }
end
