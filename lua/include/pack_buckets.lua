-- The buckets as one pack, "" of none: the reverse of unpack_buckets. Beyond 700 buckets the lowest fall together.
local function pack_buckets(counts)
  local char, floor = string.char, math.floor
  local first, last
  for index in pairs(counts) do
    first, last = math.min(first or index, index), math.max(last or index, index)
  end
  if not first then
    return ''
  end
  for index = first, last - 700 do
    counts[last - 699] = (counts[last - 699] or 0) + (counts[index] or 0)
  end
  first = math.max(first, last - 699)
  local out, held, bits = {}, 0, 0
  local function put(value, wanted)
    held, bits = held * 2 ^ wanted + value, bits + wanted
    while bits >= 8 do
      bits = bits - 8
      local scale = 2 ^ bits
      local byte = floor(held / scale)
      held = held - byte * scale
      out[#out + 1] = char(byte)
    end
  end
  local k, mean, before, older, two_k = 2, 64, 0, 0, 4
  for index = first, last do
    local count = counts[index] or 0
    local difference = count - floor((before + older) / 2)
    local code = difference >= 0 and 2 * difference or -2 * difference - 1
    local ones = floor(code / two_k)
    if ones >= 20 then
      put(1048575, 20)
      put(floor(code / 16777216), 24)
      put(code % 16777216, 24)
    else
      put((2 ^ ones - 1) * 2, ones + 1)
      put(code - ones * two_k, k)
    end
    mean = mean + floor((16 * code - mean) / 8)
    while mean >= two_k * 32 do
      k, two_k = k + 1, two_k * 2
    end
    while k > 0 and mean < two_k * 16 do
      k, two_k = k - 1, two_k / 2
    end
    before, older = count, before
  end
  if bits > 0 then
    put(0, 8 - bits)
  end
  local size, number = 6 + #out, last - first + 1
  return char(floor(size / 256), size % 256, floor(first / 256), first % 256, floor(number / 256), number % 256) .. table.concat(out)
end
