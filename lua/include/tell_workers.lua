-- Tell the workers when the first thing of this partition is due, if that is what `member` is. A hint only.
local function tell_workers(part, due, member, channel, partition)
  local head = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if head[1] == member then
    redis.call('PUBLISH', channel, string.format('%s:%.0f', partition, math.max(0, head[2] - part.now)))
  end
end
