-- Packs as one. `work.left` are the bytes that this call may still unpack, so that none takes long.
-- @include unpack_buckets
-- @include pack_buckets
local function repack(packs, work)
  local high, low = string.byte(packs, 1, 2)
  if not high or high * 256 + low == #packs then
    return packs
  end
  work.left = work.left - #packs
  local counts = {}
  unpack_buckets(packs, counts)
  return pack_buckets(counts)
end
