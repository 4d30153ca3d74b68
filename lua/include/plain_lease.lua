-- The lease of a plain grant at `now`, as take_place and hold would give it: when it ends, and as texts the slots in use with it,
-- its fence, since when, and the ticket that read_ticket is to read; and whether it may be the only one. Nil where no slot is
-- free, or a lease has ended, so that one is. Nothing is written.
local function plain_lease(now, time_text, in_use, fence)
  local before = tonumber(in_use or 0)
  local since = string.format('%.0f', now)
  if before + ARGV[7] > tonumber(ARGV[12]) or redis.call('ZCOUNT', KEYS[6], '-inf', since) > 0 then
    return nil
  end
  fence = string.format('%.0f', math.max((fence or 0) + 1, now * 1000))
  return {
    ends = now + 1 + ARGV[13],
    in_use = string.format('%.0f', before + ARGV[7]),
    fence = fence,
    since = since,
    ticket = 'held ' .. ARGV[4] .. ' ' .. ARGV[7] .. ' 0 ' .. since .. ' ' .. time_text .. ' ' .. fence .. ' ' .. ARGV[15],
    may_be_only = before == 0,
  }
end
