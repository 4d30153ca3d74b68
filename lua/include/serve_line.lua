-- Grant what can be granted, from the head of the line on, at most 100 a call. Each is granted a lease of 300 ms, within which
-- its holder has to come for it. A head with another config than the caller's, or one that waits for several limiters, is
-- called to ask for itself, for as long.
-- Then `limiter.blocked` says what the head waits for: `wait` ms and `reason`; nil when nobody waits any more.
-- With the cursors started, and save_limiter to follow, and send_messages then.
-- @include read_ticket
-- @include write_ticket
-- @include put_aside
-- @include is_silent
-- @include may_go
-- @include take_place
-- @include head_of_line
-- @include tell
local function serve_line(limiter)
  local blocked
  local function block(head, wait, reason)
    blocked = { wait = wait, reason = reason or 0 }
    local asks = limiter.now + wait
    local told, when = string.match(limiter.head or '', '^(.*) (%d+)$')
    if told ~= head or tonumber(when) > asks + 1 or tonumber(when) < limiter.now then
      limiter.head = string.format('%s %.0f', head, asks)
      tell(limiter, head, wait)
    end
  end

  local function call(ticket)
    if ticket.state ~= 'called' then
      write_ticket(limiter, ticket, 'called', limiter.now + 300)
      tell(limiter, ticket.id, 0)
    end
    blocked = { wait = ticket.time - limiter.now, reason = 0 }
  end

  local head = head_of_line(limiter)
  local served = 0
  while head and not blocked do
    local ticket = read_ticket(limiter, head)
    if served == 100 then
      block(head, 0)
    elseif not ticket then
      redis.call('ZREM', limiter.line, head)
    elseif is_silent(limiter, head) or (ticket.state == 'called' and ticket.time <= limiter.now) then
      put_aside(limiter, ticket)
    elseif ticket.state == 'called' or ticket.config ~= limiter.config then
      call(ticket)
    else
      local joint = ticket.state == 'joint'
      local time, wait, reason = may_go(limiter, ticket.cost, ticket.weight, joint and 0 or 20)
      if time and joint then
        call(ticket)
      elseif time then
        redis.call('ZREM', limiter.line, head)
        take_place(limiter, ticket, time, math.max(time, limiter.now) + 300)
        write_ticket(limiter, ticket, 'granted')
        tell(limiter, head, 0)
      else
        block(head, wait, reason)
      end
    end
    served = served + 1
    if not blocked then
      head = head_of_line(limiter)
    end
  end
  limiter.blocked, limiter.lined = blocked, blocked ~= nil
  if not blocked and limiter.head then
    limiter.head = false
  end
end
