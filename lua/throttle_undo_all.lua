--[[
throttle_undo_all: take back call `number` of a lane to throttle_acquire_all, whose reply its caller will never read because
it was interrupted, as throttle_undo does.

KEYS[1..] of each limiter in turn the keys that throttle_acquire names

ARGV[1] lane       of the caller
ARGV[2] number     of this call in its lane, rising
ARGV[3] id         of the permit
ARGV[4] patience   0 now or not at all, else the caller waits
ARGV[5] standing   in the line of which limiter it waits already, by number; 0 in none
ARGV[6..] of each limiter: how many logs it has, the cost and the weight wanted, as many callers as may wait, then as
  throttle_acquire: burst, cooldown, slots, lease, version, config, periods, and period, precision and limit of each log

Returns 1.
]]
-- @include recall
-- @include remember
-- @include read_all
-- @include read_ticket
-- @include leave
-- @include erase_everywhere
-- @include start_cursors
-- @include serve_line
-- @include end_turn
local lane, number, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local known = recall(lane, number)
if known == 'stale' then
  return 1
end
local limiters = read_all(6, true)
local granted = {}
for time, cost in string.gmatch(known or '', '\n1 (%d+) (%d+)') do
  granted[#granted + 1] = { time = tonumber(time), cost = tonumber(cost) }
end
for i, limiter in ipairs(limiters) do
  local ticket = read_ticket(limiter, id)
  if ticket then
    leave(limiter, ticket, true)
  elseif granted[i] then
    erase_everywhere(limiter, granted[i].time, granted[i].cost)
  end
  start_cursors(limiter)
  if not limiter.partial then
    serve_line(limiter)
  end
  end_turn(limiter, id)
end
remember(limiters[1], lane, number, 'undone')
return 1
