-- The process of a permit was heard of.
-- @include process_of
local function note_process(limiter, id)
  redis.call('HSET', limiter.tickets, 'alive:' .. process_of(id), limiter.now)
end
