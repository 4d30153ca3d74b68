-- Nothing is pending for a key, and nothing runs: it is forgotten after `wait` and a minute, once no call can belong to the same
-- burst. A partition without any work is forgotten after a day.
local function rest(at, member, wait)
  redis.call('ZREM', at.due, member)
  redis.call('PEXPIRE', at.window, wait + 60000)
  if redis.call('EXISTS', at.due, at.leases) == 0 then
    redis.call('PEXPIRE', at.state, 86400000)
  end
end
