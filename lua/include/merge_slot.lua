-- Add what is known of some operations to what is known of others. Their packs are appended: nobody looks into them here, unless
-- nobody has for very long.
-- @include repack
local function merge_slot(into, other)
  into.count = string.format('%.0f', into.count + other.count)
  into.errors = string.format('%.0f', into.errors + other.errors)
  into.sum = string.format('%.15g', into.sum + other.sum)
  into.min = tonumber(other.min) < tonumber(into.min) and other.min or into.min
  into.max = tonumber(other.max) > tonumber(into.max) and other.max or into.max
  into.packs = into.packs .. other.packs
  if #into.packs > 16384 then
    into.packs = repack(into.packs)
  end
end
