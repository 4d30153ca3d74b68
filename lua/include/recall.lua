-- The reply already given to call `number` of this lane, or nil when the call is new.
-- A lane sends one call at a time and numbers them upwards, so its latest reply is all there is to keep.
-- @include answer_of
local function recall(lane, number)
  return answer_of(redis.call('HGET', KEYS[1], 'lane:' .. lane), number)
end
