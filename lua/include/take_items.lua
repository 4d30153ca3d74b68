-- Take items off the head of a list for a batch: until it is full, by number or by bytes; up to those that were added at
-- `until_ms`. An item whose deliveries were lost goes in a batch with others like it, which is the smaller the more were
-- lost, and is alone the last time: so the one that kills its workers is found out, and kills nobody else's.
-- Entries of items that are gone are dropped on the way, at most 1,000 and some. Returns how many were taken and their bytes.
-- @include hmget_all
-- @include entry_id
-- @include entry_ms
-- @include is_entry_of
-- @include read_tries
local function take_items(batch, taken, list, until_ms)
  local number, bytes, gone, ended = 0, 0, 0, false
  while not ended and gone < 1000 do
    local some = batch.size - #taken.entries + 16 -- some may be gone
    local entries = redis.call('LRANGE', list, 0, some - 1)
    local ids = {}
    for i, entry in ipairs(entries) do
      ids[i] = entry_id(entry)
    end
    local records = hmget_all(batch.items, ids)
    local tries = batch.troubled and hmget_all(batch.tries, ids) or {}
    local popped = 0
    ended = #entries < some
    for i, entry in ipairs(entries) do
      local record = records[i]
      if record and is_entry_of(entry, record) then
        local lost = tries[i] and read_tries(tries[i]).lost or 0
        local most = batch.size
        if lost > 0 then
          most = lost + 1 >= batch.deliveries and 1 or math.max(1, math.floor(batch.size / 8 ^ lost))
        end
        local full = #taken.entries >= most or (#taken.entries > 0 and taken.bytes + #record > batch.most_bytes)
        if full or (taken.lost or lost) ~= lost or (until_ms and entry_ms(entry) > until_ms) then
          ended = true
          break
        end
        taken.lost, taken.bytes = lost, taken.bytes + #record
        number, bytes = number + 1, bytes + #record
        taken.entries[#taken.entries + 1], taken.ids[#taken.ids + 1] = entry, ids[i]
        taken.records[#taken.records + 1], taken.tries[#taken.tries + 1] = record, tries[i] or ''
      else
        gone = gone + 1
      end
      popped = popped + 1
    end
    if popped > 0 then
      redis.call('LPOP', list, popped)
    end
  end
  return number, bytes
end
