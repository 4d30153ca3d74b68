-- A call was dropped, since the leading run of its burst has covered it: the outcome of that is kept for as long as it would be now,
-- and for the rest of the burst.
local function keep_lead(due, window, wait, result_ttl)
  redis.call('PEXPIRE', string.sub(due, 1, -4) .. 'done:' .. window, string.format('%.0f', wait + result_ttl))
end
