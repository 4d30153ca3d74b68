--[[
retry_look: how the fleet's budget of retries stands.

KEYS[1] budget  HASH  as in retry_spend

Returns a list: tokens in thousandths, "" where there is no budget yet; calls, retries, refused.
]]
local found = redis.call('HMGET', KEYS[1], 'tokens', 'calls', 'retries', 'refused')
return { found[1] or '', found[2] or '0', found[3] or '0', found[4] or '0' }
