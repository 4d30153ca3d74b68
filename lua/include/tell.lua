-- Wake the process of a permit, when all is written: it is to ask in `wait` ms. A hint only, since nobody may hear it.
-- @include process_of
local function tell(limiter, id, wait)
  limiter.messages[#limiter.messages + 1] = { 'redisopt:v1:wake:' .. process_of(id), string.format('%s %.0f', id, wait) }
end
