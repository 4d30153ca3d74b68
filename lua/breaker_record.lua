--[[
breaker_record: how a call ended; and what follows from it. Safe to repeat, and allowed on a full server.

KEYS[1] state   HASH    the state, its number, counts and clock; lane of a client -> its latest call and reply
KEYS[2] probes  ZSET    id of a call that tries a half-open breaker -> when its lease ends (ms)
KEYS[3] last    LIST    outcomes of the last calls, oldest first, where those are counted

ARGV[1] lane        of the caller
ARGV[2] number      of this call in its lane, rising
ARGV[3] generation  number of the state that the call was let through in
ARGV[4] id          of the probe, "" where it was none
ARGV[5] outcome     0 well, 1 failed, 2 slow, 3 both; -1 for a probe that is given back
ARGV[6] open_for    ms that it is open
ARGV[7] growth      factor of that, each time that it opens again
ARGV[8] open_max    ms that it is open at most, without the jitter
ARGV[9] jitter      by which that may be longer when it opens again, in millionths
ARGV[10] probes      that a half-open one lets through
ARGV[11] failures    share that opens it, in millionths
ARGV[12] slow        likewise; above a million for never
ARGV[13] minimum     calls below which it does not open
ARGV[14] length      ms that calls are counted, 0 where the last ones are
ARGV[15] last        so many

Returns a line: the state, its number; or "stale" for a call that its caller gave up.
]]
-- @include plain_count
local plain = plain_count()
if plain then
  return plain
end

-- @include answer_of
-- @include read_circuit
-- @include roll_window
-- @include turn_circuit
-- @include save_circuit
local probes, last = KEYS[2], KEYS[3]
local lane, number, generation, id, outcome = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local half_open_calls, failure_rate, slow_rate = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local minimum, length, last_calls = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])

local circuit = read_circuit(lane)
local known = answer_of(circuit.kept, number)
if known then
  return known
end
local failed, slow = outcome % 2, outcome >= 2 and 1 or 0

local function as_it_is()
  return circuit.state .. ' ' .. circuit.generation
end

-- The last calls that are counted, and this one. Where their list is gone, as eviction may have it, nobody knows any more which
-- of them are to be forgotten, and when: the counts begin anew.
local function count_last()
  if redis.call('LLEN', last) ~= circuit.calls then
    redis.call('DEL', last)
    circuit.calls, circuit.failures, circuit.slow = 0, 0, 0
  end
  for _ = 1, math.min(1000, circuit.calls + 1 - last_calls) do
    local oldest = tonumber(redis.call('LPOP', last))
    circuit.calls = circuit.calls - 1
    circuit.failures = circuit.failures - oldest % 2
    circuit.slow = circuit.slow - (oldest >= 2 and 1 or 0)
  end
  redis.call('PEXPIRE', KEYS[1], 2592000000) -- allowed on a full server, and then so is the rest
  redis.call('RPUSH', last, outcome)
  redis.call('PEXPIRE', last, 2592000000)
end

-- Those of the window that are counted, and this one.
local function count_slot()
  if roll_window(circuit, length) then
    change_field(circuit, 'slot', circuit.slot)
    change_field(circuit, 'slots', circuit.slots)
    change_field(circuit, 'oldest', circuit.oldest)
  end
end

local function count()
  change_field(circuit, 'calls', circuit.calls + 1)
  change_field(circuit, 'failures', circuit.failures + failed)
  change_field(circuit, 'slow', circuit.slow + slow)
end

local function too_many()
  return circuit.failures * 1000000 >= failure_rate * circuit.calls or circuit.slow * 1000000 >= slow_rate * circuit.calls
end

local function open()
  turn_circuit(circuit, 'open', tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]))
end

if generation ~= circuit.generation then
  return as_it_is() -- it began before the state was this one
elseif circuit.state == 'half_open' then
  if tonumber(redis.call('ZSCORE', probes, id) or 0) <= circuit.now then
    return as_it_is() -- its lease is over, and its place another's
  end
  redis.call('ZREM', probes, id)
  if outcome >= 0 then
    count()
    if circuit.calls >= half_open_calls then
      if too_many() then
        open()
      else
        turn_circuit(circuit, 'closed')
      end
    end
  end
elseif circuit.state == 'closed' and outcome >= 0 then
  local window = length > 0 and 'time' or 'calls'
  if circuit.window == '' then
    change_field(circuit, 'window', window)
    change_field(circuit, 'length', length > 0 and length or last_calls)
  elseif circuit.window ~= window then -- the caller has the other kind: its calls are counted as those of whoever came first
    length, last_calls = circuit.window == 'time' and circuit.length or 0, circuit.length
    minimum = length > 0 and minimum or math.min(minimum, last_calls)
  end
  if length > 0 then
    count_slot()
  else
    count_last()
  end
  count()
  if circuit.calls >= minimum and too_many() then
    open()
  end
end
return save_circuit(circuit, lane, number, as_it_is())
