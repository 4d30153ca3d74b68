-- Take back what a claim still holds: its items go to the list of those that are due again, in their order. `lost` says that
-- the worker was not heard of, which counts as a delivery for each. A claim is "<worker> <since> <partition> <reason> <fence>
-- <entry> <entry> ...". Returns how many came back.
-- @include hmget_all
-- @include hdel_all
-- @include hset_all
-- @include rpush_all
-- @include entry_id
-- @include read_tries
-- @include write_tries
local function reclaim(batch, claim, lost)
  local text = redis.call('HGET', batch.claims, claim)
  redis.call('ZREM', batch.leases, claim)
  redis.call('HDEL', batch.claims, claim)
  local entries, ids = {}, {}
  for entry in string.gmatch(string.match(text or '', '^%S+ %S+ %S+ %S+ %S+ (.*)$') or '', '%S+') do
    entries[#entries + 1], ids[#ids + 1] = entry, entry_id(entry)
  end
  local owners, back, freed = hmget_all(batch.held, ids), {}, {}
  for i, id in ipairs(ids) do
    if owners[i] == claim then
      freed[#freed + 1], back[#back + 1] = id, entries[i]
    end
  end
  hdel_all(batch.held, freed)
  rpush_all(batch.again, back)
  local tries, counted = hmget_all(batch.tries, freed), {}
  for i, id in ipairs(freed) do
    local known = read_tries(tries[i] or nil)
    known.lost = known.lost + (lost and 1 or 0)
    counted[#counted + 1], counted[#counted + 2] = id, write_tries(known)
  end
  hset_all(batch.tries, counted) -- also where nothing was lost: it says that the item is in no ready list
  if lost then
    redis.call('HINCRBY', batch.state, 'reclaimed', #freed)
  end
  return #back
end
