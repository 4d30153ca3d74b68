--[[
cache_ask: what is known of a key, and whether the caller is to compute it. It only reads, unless the caller gets the lease or is to wait.
Safe to repeat: who asks again under one id gets its lease again, and none once its computation is over. (A copy that comes when
its caller is long gone may get a lease that ends by itself.) The keys of the value's tags, at most 16, are built from `tags`.

KEYS[1] entry    HASH    what is known of the value, and who computes it
KEYS[2] value    STRING  its bytes
KEYS[3] waiters  SET     processes that wait for it

ARGV[1] id       of the caller, "" for one who only reads
ARGV[2] refresh  1 where the caller may refresh a value that it is given
ARGV[3] eager    a value is refreshed so many times its computation's time before its end
ARGV[4] refused  fence of a value that the caller knows to be invalidated, "" for none
ARGV[5] lease    ms that a lease lives unless it is renewed
ARGV[6] tags     what the keys of tags' versions begin with, "" on a Cluster: there the caller looks itself

Returns bytes and a line. Of a value: "hit", "stale", "rescued" (a computation failed lately), "refresh" or "early" (the caller has the lease and
is to refresh the value, which is stale, or fresh yet); its fence, age (ms), ms that it is fresh yet and that it is of use to anybody,
codec, and tags as "tag=version tag=version". Else the error and "failed" and ms until it is tried again; or "" and: "compute" (the
caller has the lease) and its fence; "alone" (somebody has it, but what he computes cannot be kept: the caller is to compute for itself);
"wait" and the ms that the lease lasts; "none".
]]
-- @include server_ms
-- @include read_value
-- @include read_computation
-- @include value_reply
-- @include rising
-- @include outlast
-- @include process_of
local entry, value, waiters = KEYS[1], KEYS[2], KEYS[3]
local id, may_refresh, eager, refused, lease, tags = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]), ARGV[6]

local now, micros = server_ms()
local found = read_value(entry, value, now, refused, tags)
local fresh = found.valid and now < found.fresh
if fresh and now + found.took * eager < found.fresh then
  return value_reply('hit', found)
end
read_computation(entry, found)

local function take_lease()
  if id == '' or id == found.done or (found.leased and found.by ~= id) then
    return false
  end
  if not found.leased then
    found.number = rising(found.number, now, micros)
    -- A full server refuses this first write: then nothing has been written.
    redis.call('HSET', entry, 'by', id, 'since', now, 'until', now + lease, 'lease', lease, 'number', found.number)
    outlast(entry, 2 * lease)
  end
  return true
end

if fresh or (found.valid and now < found.stale) then
  if may_refresh and not found.failed and take_lease() then
    return value_reply(fresh and 'early' or 'refresh', found)
  end
  return value_reply(fresh and 'hit' or 'stale', found)
end
if found.failed then
  if found.valid and now < found.rescue then
    return value_reply('rescued', found)
  end
  return { found.failure, string.format('failed %.0f', found.retry - now) }
end
if id == '' then
  return { '', 'none' }
end
if take_lease() then
  return { '', string.format('compute %.0f', found.number) }
end
if found.alone then
  return { '', 'alone' }
end
redis.call('SADD', waiters, process_of(id))
redis.call('PEXPIRE', waiters, 5000) -- who waits asks at least once a second
return { '', string.format('wait %.0f', found.leased and found.ends - now or 0) }
