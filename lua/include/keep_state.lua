-- Have the state live on: it is forgotten a month after its last use.
local function keep_state(state)
  redis.call('PEXPIRE', state, 2592000000)
end
