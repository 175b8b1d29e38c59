-- Sends prepared requests, each once, and prints what came of them as one line of JSON.
-- A file of them is a length in ten digits before each request. The second argument is how many
-- requests to send in a second; 0 is as fast as they are answered.

local ffi = require("ffi")
ffi.cdef [[
  struct timespec { long tv_sec; long tv_nsec; };
  int clock_gettime(int clock, struct timespec *time);
]]
local MONOTONIC, OF_THE_PROCESS = 1, 2
local time = ffi.new("struct timespec")

local requests, position = {}, 0
local rate, due
local thread

-- wrk prepares and sums up in a state of its own, which sees the globals of the one that sends.
exhausted = false

local function seconds(clock)
  ffi.C.clock_gettime(clock, time)
  return tonumber(time.tv_sec) + tonumber(time.tv_nsec) / 1e9
end

-- One schedule for all connections: requests are due at random moments, on average `rate` of them
-- in a second, as they come from many independent senders. Whichever connection is free takes the
-- next moment and waits for it; one that is past already is made up for at once, so that a server
-- that stalls is asked for no less. wrk waits in whole milliseconds, and by itself it would wait
-- for a time between an answer and the next request, which asks the less the slower the answers.
local function wait_for_its_turn()
  local now = seconds(MONOTONIC)
  due = (due or now) - math.log(1 - math.random()) / rate
  return math.max(0, math.floor((due - now) * 1000 + 0.5))
end

function setup(the_only_one)
  thread = the_only_one
end

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  while true do
    local length = file:read(10)
    if not length then break end
    requests[#requests + 1] = file:read(tonumber(length))
  end
  file:close()
  rate = tonumber(arguments[2])
  if rate > 0 then delay = wait_for_its_turn end
  began, used = seconds(MONOTONIC), seconds(OF_THE_PROCESS)
end

function request()
  position = position + 1
  if position > #requests then
    -- A repeated message would be no new event; the count would tell, so end here.
    exhausted = true
    wrk.thread:stop()
    return requests[#requests]
  end
  return requests[position]
end

function done(summary, latency)
  local errors = summary.errors
  local busy = (seconds(OF_THE_PROCESS) - thread:get("used"))
    / (seconds(MONOTONIC) - thread:get("began"))
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, "exhausted": %s, ' ..
    '"busy": %.3f, "p50": %d, "p99": %d, "p999": %d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, tostring(thread:get("exhausted")), busy,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
