-- Note when the outcomes of these ids end, and forget those whose time is over: of twice as many ids as came, and some more,
-- so that they never pile up. An entry of `finished` is "<ms when they end> <id> <id> ...".
-- @include hdel_all
local function forget_outcomes(outcomes, finished, ids, now, ttl)
  local swept = 0
  while swept < 2 * #ids + 64 do
    local entry = redis.call('LINDEX', finished, 0)
    if not entry or tonumber(string.match(entry, '^%d+')) > now then
      break
    end
    redis.call('LPOP', finished)
    local over = {}
    for id in string.gmatch(string.match(entry, ' .*$') or '', '%S+') do
      over[#over + 1] = id
    end
    hdel_all(outcomes, over)
    swept = swept + #over + 1
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
