-- How many bytes of payloads one script call moves, but for one payload that is larger: it holds up the server for some milliseconds.
local function max_call_bytes()
  return 4 * 1024 * 1024
end
