-- A limiter's time (ms), and by how much it is ahead of the server's: `seen` and `offset` as its state keeps them, nil where it
-- has none. All times of a limiter are TIME + offset. Where the server's clock was set back, the offset grows by as much, so
-- that its time never falls and nobody is stalled by a use that seems to lie in the future. Whoever writes by this time has to
-- keep it as `seen`: what was let go of because it was over would not be over else, once the clock is set back.
-- @include server_ms
local function steady_clock(seen, offset)
  seen, offset = tonumber(seen or 0), tonumber(offset or 0)
  local now = server_ms() + offset
  if now + 1 < seen then
    return seen - 1, offset + seen - 1 - now
  end
  return now, offset
end
