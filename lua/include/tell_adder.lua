-- Note in the stream of an adder that there are outcomes of these ids, and wake it. Streams of runs have a channel of their
-- own name; those of processes are told on the channel of the process. Entries older than `ttl` are dropped.
-- @include process_of
local function tell_adder(stream, ids, now, ttl)
  redis.call('XADD', stream, 'MINID', '~', string.format('%.0f', math.max(0, now - ttl)), '*', 'ids', table.concat(ids, ' '))
  redis.call('PEXPIRE', stream, ttl)
  local client = string.match(stream, '}:reply:(.*)$')
  if string.find(client, '^run:') then
    redis.call('PUBLISH', stream, '0')
  else
    redis.call('PUBLISH', 'redisopt:v1:wake:' .. process_of(client), client .. ' 0')
  end
end
