-- Wake the processes that wait for a window: at most 1,000, others ask by themselves. Hints only.
local function wake_waiters(waiters, window)
  for i, process in ipairs(redis.call('SMEMBERS', waiters)) do
    if i <= 1000 then
      redis.call('PUBLISH', 'redisopt:v1:wake:' .. process, window .. ' 0')
    end
  end
end
