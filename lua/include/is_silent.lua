-- Whether nothing was heard for 3 s of the process that a permit is of; those who wait are heard of every half second.
-- @include process_of
local function is_silent(limiter, id)
  local heard = redis.call('HGET', limiter.tickets, 'alive:' .. process_of(id))
  return tonumber(heard or 0) + 3000 < limiter.now
end
