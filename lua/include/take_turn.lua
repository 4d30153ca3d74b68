-- Take a permit in turn: at once when nobody waits and it can be had, else stand in the line, when the caller's patience (ms)
-- is not 0, at most `queue` callers wait, and its limits alone would not take longer. Returns the reply.
-- @include reap_leases
-- @include start_cursors
-- @include serve_line
-- @include free_cost
-- @include may_go
-- @include try_place
-- @include next_rank
-- @include take_place
-- @include head_of_line
-- @include hold
-- @include note_process
-- @include describe_turn
-- @include count_line
-- @include end_turn
local function take_turn(limiter, ticket, least, patience, priority, queue)
  local now = limiter.now
  -- A full server refuses this first write: then nothing has been written.
  redis.call('HSET', limiter.state, 'seen', now + 1)
  if priority ~= 0 then
    limiter.changes.ranked = now + 600000 -- from now on nobody is given a place far ahead
  end
  reap_leases(limiter)
  start_cursors(limiter)
  serve_line(limiter)

  local wait, reason
  if limiter.blocked then
    wait, reason = limiter.blocked.wait, 0
  else
    if least < ticket.cost then
      ticket.cost = free_cost(limiter, ticket.cost, least)
    end
    local time
    time, wait, reason = may_go(limiter, ticket.cost, ticket.weight, 20)
    if time and (patience < 0 or time - now <= patience) then
      take_place(limiter, ticket, time, time)
      hold(limiter, ticket)
      end_turn(limiter, ticket.id)
      return describe_turn(limiter, 1, ticket, math.max(0, time - now), reason or 0)
    end
    wait = wait or time - now
  end

  if patience ~= 0 then
    local place, why = try_place(limiter, ticket.cost, -1)
    if patience > 0 and place - now > patience then
      wait, reason = place - now, why
    elseif queue >= 0 and count_line(limiter) >= queue then
      reason = -4
    else
      ticket.rank = next_rank(limiter, priority)
      redis.call('ZADD', limiter.line, ticket.rank, ticket.id)
      write_ticket(limiter, ticket, 'waiting')
      note_process(limiter, ticket.id)
      local is_head = head_of_line(limiter) == ticket.id
      if is_head then
        serve_line(limiter)
        local now_known = read_ticket(limiter, ticket.id)
        if now_known.state == 'granted' then
          hold(limiter, now_known)
          end_turn(limiter, ticket.id)
          return describe_turn(limiter, 1, now_known, math.max(0, now_known.time - now), reason or 0)
        end
      end
      end_turn(limiter, ticket.id)
      return describe_turn(limiter, 2, ticket, is_head and math.max(1, limiter.blocked.wait) or 0, reason or 0)
    end
  end
  end_turn(limiter, ticket.id)
  return describe_turn(limiter, 0, ticket, wait, reason or 0)
end
