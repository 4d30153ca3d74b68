-- What the fleet was told about a limiter, as update, pause and resume wrote it. Sets how many ms a `pause` still lasts.
-- Returns the reply to give instead of a decision when the caller knows another version of the config: "update <version>
-- <the fields that were told, as JSON>"; else nil. A pause is kept in the server's own time: where its clock was set back by
-- more than a second since, the pause is over.
-- Where that stands in another slot, the version is "-" and the ms of pause that the caller knows of.
-- @include server_ms
local function read_control(limiter, version)
  if string.sub(version, 1, 1) == '-' then
    limiter.pause = tonumber(string.sub(version, 2)) or 0
    return nil
  end
  local told = redis.call('HMGET', limiter.control, 'version', 'paused_until', 'paused_at', 'override')
  if (told[1] or '0') ~= version then
    return 'update ' .. (told[1] or '0') .. ' ' .. (told[4] or '{}')
  end
  limiter.told = told[1]
  if told[2] then
    local now = server_ms()
    if now + 1000 >= tonumber(told[3]) then
      limiter.pause = math.max(0, told[2] - now)
    end
  end
  return nil
end
