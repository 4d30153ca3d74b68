--[[
batch_release: give back all that a claim still holds, at once and with attempts and deliveries unchanged. Safe to repeat, and
allowed on a full server.

KEYS[1] state   HASH  counters, and what the fleet was told
KEYS[2] held    HASH  id -> claim, of those that run
KEYS[3] tries   HASH  id -> what read_tries reads
KEYS[4] leases  ZSET  claim -> when its lease ends (ms)
KEYS[5] claims  HASH  claim -> what it holds, see batch_claim
KEYS[6] due     ZSET  partition -> when its next batch is due (ms); also the channel on which workers are called
KEYS[7] again   LIST  entries that are due again, of the partition

ARGV[1] claim
ARGV[2] partition

Returns how many items came back.
]]
-- @include logical_ms
-- @include reclaim
-- @include call_worker
local batch = { state = KEYS[1], held = KEYS[2], tries = KEYS[3], leases = KEYS[4], claims = KEYS[5], again = KEYS[7] }
local now = logical_ms(batch.state)

local number = reclaim(batch, ARGV[1], false)
if number > 0 then
  call_worker(KEYS[6], ARGV[2], now, now, true)
end
return number
