-- Keep the reply to call `number` of this lane in the HASH `lanes`, for recall. A new lane, and any lane now and then, sweeps a few
-- others on its way. Returns whether it did so.
-- @include sweep_lanes
local function keep_reply(lanes, now, lane, number, reply)
  local is_new = redis.call('HSET', lanes, 'lane:' .. lane, number .. ' ' .. now .. ' ' .. reply) == 1
  if is_new or number % 256 == 0 then
    sweep_lanes(lanes, now)
    return true
  end
  return false
end
