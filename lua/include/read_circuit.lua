-- A circuit breaker as its state says, as it is at first where there is none. `now` is the server's time in ms; where that was set
-- back, it goes on from the latest time that was seen, so that nobody waits for the old time to come again. `kept` is what is kept
-- of the caller's `lane`. What is to change goes into `changes`, for save_circuit.
-- @include server_ms
local function read_circuit(lane)
  local known = redis.call('HMGET', KEYS[1], 'seen', 'offset', 'state', 'generation', 'since', 'open_until', 'reopened', 'opened',
    'not_permitted', 'calls', 'failures', 'slow', 'window', 'slot', 'slots', 'oldest', 'length', 'tried',
    'lane:' .. (lane or ''))
  local seen, offset = tonumber(known[1] or 0) or 0, tonumber(known[2] or 0) or 0
  local now = server_ms() + offset
  local changes = {}
  if now < seen then
    offset, now = offset + seen - now, seen
    changes = { 'offset', offset }
  end
  return {
    now = now,
    offset = offset,
    is_new = not known[3],
    state = known[3] or 'closed',
    generation = known[4] or '0',
    since = tonumber(known[5] or now),
    open_until = tonumber(known[6] or now),
    reopened = tonumber(known[7] or 0),
    opened = tonumber(known[8] or 0),
    not_permitted = tonumber(known[9] or 0),
    calls = tonumber(known[10] or 0),
    failures = tonumber(known[11] or 0),
    slow = tonumber(known[12] or 0),
    window = known[13] or '',
    slot = known[14] or '',
    slots = known[15] or '',
    oldest = tonumber(known[16] or now),
    length = tonumber(known[17] or 0),
    tried = tonumber(known[18] or now),
    kept = known[19],
    changes = changes,
  }
end
