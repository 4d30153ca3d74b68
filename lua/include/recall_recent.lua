-- The reply given to the call of this lane, which is sent but once, or again within a minute; nil when that is longer ago.
local function recall_recent(part, lane)
  local at, reply = string.match(redis.call('HGET', part.state, 'lane:' .. lane) or '', '^%d+ (%d+) (.*)$')
  return at and part.now - at <= 60000 and reply or nil
end
