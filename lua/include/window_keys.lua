-- The keys of one window of `member`, out of the tag that all keys of the partition share.
local function window_keys(tag, member, window)
  local key = tag .. 'key:' .. member
  return {
    state = tag .. 'state', due = tag .. 'due', leases = tag .. 'leases',
    window = key, items = key .. ':items', run_items = key .. ':run',
    done = tag .. 'done:' .. window, waiters = tag .. 'done:' .. window .. ':waiters',
    dead = tag .. 'dead', letter = tag .. 'dead:' .. window, letter_items = tag .. 'dead:' .. window .. ':items',
  }
end
