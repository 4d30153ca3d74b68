-- Drop from the list what is over for everybody. With nobody waiting that is all that was passed. While somebody waits,
-- the passed uses may still count until the time of their place: look, and keep those.
-- @include oldest_first
local function drop_due(log, now, line)
  local due = log.passed
  if due > 0 and line then
    due = 0
    for time in oldest_first(log.key, 0) do
      if due == log.passed or time + log.period > now then
        break
      end
      due = due + 1
    end
  end
  if due > 0 then
    redis.call('LTRIM', log.key, 0, -(due + 1))
    log.passed = log.passed - due
  end
end
