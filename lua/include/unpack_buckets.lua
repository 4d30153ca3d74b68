-- Add the buckets of all packs in `packed` to `counts`, by their number; see redisopt/monitor/packing.py. Of the bits that were read
-- and not used yet, `held` is the value and `unit` two to the power of their number.
local function unpack_buckets(packed, counts)
  local byte, floor = string.byte, math.floor
  local start = 1
  local function add(index, count)
    if count > 0 and count < 2 ^ 48 and index < 1400 then -- as all are that we have packed
      counts[index] = (counts[index] or 0) + count
    end
  end
  while start + 6 <= #packed do
    local a, b, c, d, e, f = byte(packed, start, start + 5)
    local stop, index, number = start + math.max(6, a * 256 + b), c * 256 + d, e * 256 + f
    local at, last, held, unit = start + 6, index + number - 1, 0, 1
    if number >= 32768 then -- a loose one: pairs of a gap and a count
      local function take()
        local value, one = 0
        repeat
          one, at = byte(packed, at) or 0, at + 1
          value = value * 128 + one % 128
        until one < 128
        return value
      end
      for _ = 1, number - 32768 do
        index = index + take()
        add(index, take())
      end
      last = -1
    end
    local two_k, mean, before, older = 4, 64, 0, 0
    local function take(size)
      while unit < size do
        held, unit, at = held * 256 + (byte(packed, at) or 0), unit * 256, at + 1
      end
      unit = unit / size
      local value = floor(held / unit)
      held = held - value * unit
      return value
    end
    while index <= last do
      local ones = 0
      repeat -- so many ones, up to a zero
        if unit == 1 then
          held, unit, at = byte(packed, at) or 0, 256, at + 1
        end
        unit = unit / 2
        local is_one = held >= unit
        if is_one then
          held, ones = held - unit, ones + 1
        end
      until not is_one or ones == 20
      local code
      if ones == 20 then
        code = take(16777216) * 16777216
        code = code + take(16777216)
      else
        code = ones * two_k + take(two_k)
      end
      mean = mean + floor((16 * code - mean) / 8)
      while mean >= two_k * 32 do
        two_k = two_k * 2
      end
      while two_k > 1 and mean < two_k * 16 do
        two_k = two_k / 2
      end
      local count = floor((before + older) / 2) + (code % 2 == 0 and code / 2 or -(code + 1) / 2)
      add(index, count)
      before, older, index = count, before, index + 1
    end
    start = stop
  end
end
