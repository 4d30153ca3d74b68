-- The server's clock in whole milliseconds, rounded down, and the microseconds beyond. Ask once per script: on Redis 6.2 and 7.0 it moves meanwhile.
local function server_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000), time[2] % 1000
end
