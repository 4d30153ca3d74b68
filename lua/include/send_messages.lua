-- Send what tell has noted, but nothing to `asker`, who reads the reply.
local function send_messages(limiter, asker)
  for _, message in ipairs(limiter.messages) do
    if not asker or string.match(message[2], '^(.*) %d+$') ~= asker then
      redis.call('PUBLISH', message[1], message[2])
    end
  end
  limiter.messages = {}
end
