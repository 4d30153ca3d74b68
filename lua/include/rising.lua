-- A number above `number`, as text; a time in microseconds as well, so that it rises even where the last one was forgotten.
local function rising(number, now, micros)
  return string.format('%.0f', math.max(number + 1, now * 1000 + micros))
end
