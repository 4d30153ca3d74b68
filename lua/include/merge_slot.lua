-- Add what is known of some operations to what is known of others. The packs are appended, and made one only when they have become
-- much longer than the first of them: most calls do not look into them.
-- @include repack
local function merge_slot(into, other, work)
  into.count = string.format('%.0f', into.count + other.count)
  into.errors = string.format('%.0f', into.errors + other.errors)
  into.sum = string.format('%.15g', into.sum + other.sum)
  into.min = tonumber(other.min) < tonumber(into.min) and other.min or into.min
  into.max = tonumber(other.max) > tonumber(into.max) and other.max or into.max
  local high, low = string.byte(into.packs, 1, 2)
  into.packs = into.packs .. other.packs
  if #into.packs > 512 + 2 * ((high or 0) * 256 + (low or 0)) and (work.left > 0 or #into.packs > 16384) then
    into.packs = repack(into.packs, work)
  end
end
