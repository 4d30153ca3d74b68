-- Add the buckets of all packs in `packed` to `counts`, by their number; see redisopt/monitor/packing.py.
local function unpack_buckets(packed, counts)
  local byte, floor = string.byte, math.floor
  local start = 1
  while start + 6 <= #packed do
    local a, b, c, d, e, f = byte(packed, start, start + 5)
    local stop, index, last = start + math.max(6, a * 256 + b), c * 256 + d, c * 256 + d + e * 256 + f - 1
    local at, held, bits = start + 6, 0, 0
    local k, mean, before, older, two_k = 2, 64, 0, 0, 4
    while index <= last do
      -- So many ones, up to a zero.
      local ones = 0
      while true do
        if bits == 0 then
          held, bits, at = byte(packed, at) or 0, 8, at + 1
        end
        bits = bits - 1
        local one = 2 ^ bits
        if held < one then
          break
        end
        held, ones = held - one, ones + 1
        if ones == 20 then
          break
        end
      end
      local wanted = ones == 20 and 48 or k
      local code, scale = ones == 20 and 0 or ones * two_k, 0
      while bits < wanted do
        if wanted > 8 and bits > 0 then
          code, wanted = code + held * 2 ^ (wanted - bits), wanted - bits
          held, bits = 0, 0
        end
        held, bits, at = held * 256 + (byte(packed, at) or 0), bits + 8, at + 1
      end
      scale = 2 ^ (bits - wanted)
      local rest = floor(held / scale)
      code, held, bits = code + rest, held - rest * scale, bits - wanted
      mean = mean + floor((16 * code - mean) / 8)
      while mean >= two_k * 32 do
        k, two_k = k + 1, two_k * 2
      end
      while k > 0 and mean < two_k * 16 do
        k, two_k = k - 1, two_k / 2
      end
      local count = floor((before + older) / 2) + (code % 2 == 0 and code / 2 or -(code + 1) / 2)
      if count > 0 and count < 2 ^ 48 and index < 1400 then -- as all are that we have packed
        counts[index] = (counts[index] or 0) + count
      end
      before, older, index = count, before, index + 1
    end
    start = stop
  end
end
