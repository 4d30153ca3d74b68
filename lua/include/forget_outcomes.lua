-- Note when the outcomes of these ids end, and forget those whose time is over: of twice as many ids as came, and some more,
-- or of more bytes than came, so that they never pile up. An id whose item has run anew since, as one of the dead letter does,
-- has an outcome that stays. An entry of `finished` is "<ms when they end> <id> <id> ...".
-- @include hmget_all
-- @include hdel_all
-- @include is_kept
-- @include max_call_bytes
local function forget_outcomes(outcomes, finished, ids, now, ttl)
  local swept, bytes = 0, 0
  while swept < 2 * #ids + 64 and bytes < max_call_bytes() do
    local entry = redis.call('LINDEX', finished, 0)
    if not entry or tonumber(string.match(entry, '^%d+')) > now then
      break
    end
    redis.call('LPOP', finished)
    local ended, over = {}, {}
    for id in string.gmatch(string.match(entry, ' .*$') or '', '%S+') do
      ended[#ended + 1] = id
    end
    for i, outcome in ipairs(hmget_all(outcomes, ended)) do
      if outcome then
        bytes = bytes + #outcome
        if not is_kept(outcome, now) then
          over[#over + 1] = ended[i]
        end
      end
    end
    hdel_all(outcomes, over)
    swept = swept + #ended + 1
  end
  if #ids > 0 then
    redis.call('RPUSH', finished, string.format('%.0f ', now + ttl) .. table.concat(ids, ' '))
    for _, key in ipairs({ outcomes, finished }) do
      if redis.call('PTTL', key) < ttl then
        redis.call('PEXPIRE', key, ttl)
      end
    end
  end
end
