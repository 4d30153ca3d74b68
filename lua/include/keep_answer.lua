-- Keep the reply to call `number` of this lane for as long as a copy of the call may be on its way: a minute after the latest.
-- @include keep_reply
local function keep_answer(answers, now, lane, number, reply)
  keep_reply(answers, now, lane, number, reply)
  redis.call('PEXPIRE', answers, 120000)
end
