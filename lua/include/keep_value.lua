-- Keep a value of these lives (ms), and forget its computation and its failure. A full server refuses this first write: then nothing
-- has been written. The entry outlives its value by a minute at least, as lanes have to be remembered.
local function keep_value(entry, value, payload, now, lives, took, fence, codec, tags)
  local ends = math.max(lives.fresh, lives.stale, lives.rescue)
  redis.call('SET', value, payload, 'PX', ends)
  redis.call('HSET', entry, 'made', now, 'fresh', now + lives.fresh, 'stale', now + lives.stale, 'rescue', now + lives.rescue,
    'took', took, 'fence', fence, 'codec', codec, 'tags', tags, 'number', fence)
  redis.call('HDEL', entry, 'by', 'since', 'until', 'lease', 'done', 'failure', 'failed', 'retry', 'unkept', 'alone')
  redis.call('PEXPIRE', entry, math.max(ends, 60000))
end
