-- Keep `key` for `ms` more at least.
local function outlast(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, ms)
  end
end
