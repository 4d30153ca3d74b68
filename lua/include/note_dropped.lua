-- Note that these items were dropped, since too many waited: they may be added again.
-- @include hset_all
-- @include forget_outcomes
local function note_dropped(queue, ids)
  local ended, outcome = {}, string.format('dropped %.0f\n', queue.now + queue.ttl)
  for _, id in ipairs(ids) do
    ended[#ended + 1], ended[#ended + 2] = id, outcome
  end
  hset_all(queue.outcomes, ended)
  redis.call('HINCRBY', queue.state, 'dropped', #ids)
  forget_outcomes(queue.outcomes, queue.finished, ids, queue.now, queue.ttl)
end
