-- The values of these fields of a hash, false where there is none, from the first on: all, or as many as one call moves. In parts,
-- so that few are read that are too many.
-- @include max_call_bytes
local function hmget_some(key, fields)
  local values, bytes, most = {}, 0, max_call_bytes()
  for first = 1, #fields, 16 do
    for _, value in ipairs(redis.call('HMGET', key, unpack(fields, first, math.min(first + 15, #fields)))) do
      if bytes >= most then
        return values
      end
      values[#values + 1] = value
      bytes = bytes + #(value or '')
    end
  end
  return values
end
