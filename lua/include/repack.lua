-- Packs as one.
-- @include unpack_buckets
-- @include pack_buckets
local function repack(packs)
  local counts = {}
  unpack_buckets(packs, counts)
  return pack_buckets(counts)
end
