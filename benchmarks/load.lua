-- Sends prepared requests, each once, and prints what came of them as one line of JSON.
-- A file of them is a length in ten digits before each request. The second argument is how many
-- milliseconds each connection waits before its next request.

local requests, position, pause

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  requests, position = {}, 0
  while true do
    local length = file:read(10)
    if not length then break end
    requests[#requests + 1] = file:read(tonumber(length))
  end
  file:close()
  pause = tonumber(arguments[2])
  if pause > 0 then
    -- Spread evenly around the pause, so that connections do not march in step.
    function delay() return math.floor(pause * 2 * math.random() + 0.5) end
  end
end

function request()
  position = position + 1
  if position > #requests then
    -- A repeated message would be no new event; the count would tell, so end here.
    wrk.thread:stop()
    return requests[#requests]
  end
  return requests[position]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, ' ..
    '"p50": %d, "p90": %d, "p99": %d, "p999": %d, "max": %d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency:percentile(99.9), latency.max))
end
