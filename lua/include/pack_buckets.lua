-- The buckets as one pack, "" of none: the reverse of unpack_buckets.
local function pack_buckets(counts)
  local char, floor = string.char, math.floor
  local first, last
  for index in pairs(counts) do
    first, last = math.min(first or index, index), math.max(last or index, index)
  end
  if not first then
    return ''
  end
  local out, held, unit = {}, 0, 1
  local function put(value, size)
    held, unit = held * size + value, unit * size
    while unit >= 256 do
      unit = unit / 256
      local byte = floor(held / unit)
      out[#out + 1], held = char(byte), held - byte * unit
    end
  end
  local two_k, mean, before, older = 4, 64, 0, 0
  for index = first, last do
    local count = counts[index] or 0
    local difference = count - floor((before + older) / 2)
    local code = difference >= 0 and 2 * difference or -2 * difference - 1
    local ones = floor(code / two_k)
    if ones >= 20 then
      put(1048575, 1048576)
      put(floor(code / 16777216), 16777216)
      put(code % 16777216, 16777216)
    elseif ones == 0 then
      put(code, 2 * two_k)
    else
      local size = 2 ^ ones
      put(2 * size - 2, 2 * size)
      put(code - ones * two_k, two_k)
    end
    mean = mean + floor((16 * code - mean) / 8)
    while mean >= two_k * 32 do
      two_k = two_k * 2
    end
    while two_k > 1 and mean < two_k * 16 do
      two_k = two_k / 2
    end
    before, older = count, before
  end
  if unit > 1 then
    put(0, 256 / unit)
  end
  local size, number = 6 + #out, last - first + 1
  return char(floor(size / 256), size % 256, floor(first / 256), first % 256, floor(number / 256), number % 256) .. table.concat(out)
end
