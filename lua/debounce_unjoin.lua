--[[
debounce_unjoin: the caller of debounce_join was interrupted, and will never read its reply: where that call is still on its way, it is not to
take effect any more. (Where it took effect, debounce_leave takes it back.) Safe to repeat, and allowed on a full server.

KEYS[1] state    HASH    the partition's clock, numbers and counts; lane of a client -> its latest call and reply
KEYS[2] due      ZSET    encoded key -> when it is to be run (ms)
KEYS[3] leases   ZSET    encoded key -> when the lease of its run ends (ms)
KEYS[4] window   HASH    of the key: what is pending, what runs, when it was last called and run
KEYS[5] callers  ZSET    window id and holder of functions that waits for it -> number of its newest call

ARGV[1] lane       of the caller
ARGV[2] number     of the call in its lane
ARGV[3] member     the key, encoded
ARGV[4] process    of the caller
ARGV[5] holder     of functions: callers of one debouncer of that process
ARGV[6] attempt    id of the call
ARGV[7] wait       ms of quiet before a run
ARGV[8] max_wait   ms after which it runs all the same, -1 for never
ARGV[9] leading    1 to run on the first call of a burst
ARGV[10] trailing   1 to run after the last one
ARGV[11] max_items  calls with which a window is due at once, 0 for any number
ARGV[12] options    all of this as text, for who reads it
ARGV[13] lease      ms that a run's lease lives unless it is renewed
ARGV[14] keep       ms that all this lives unless somebody asks
ARGV[15] result_ttl  ms that an outcome is kept

Returns 1 where it had not taken effect, else 0.
]]
-- @include answer_of
-- @include open_partition
-- @include keep_reply
-- @include keep_closures
local at = { state = KEYS[1], due = KEYS[2], leases = KEYS[3], window = KEYS[4] }
local lane, number, keep = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[14])

local part = open_partition(at.state, lane)
if answer_of(part.kept, number) then
  return 0
end
redis.call('ZREM', KEYS[5], ' ') -- what no member is: allowed on a full server, and then so is the rest
keep_reply(at.state, part.now, lane, number, 'gone')
keep_closures(keep, at)
return 1
