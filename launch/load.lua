-- What wrk asks in launch/load_test.sh: the lists of many people, one after the other, from the file BODIES.
-- With PACE (requests a second, of this thread) a connection waits before each request, so that they come at random
-- and about so often; without it the next one is sent as soon as the last is answered.
local bodies, at = {}, 0
local headers = {["Content-Type"] = "application/json"}
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
if os.getenv("GRASP_JAX_TOKEN") then headers["Authorization"] = "Bearer " .. os.getenv("GRASP_JAX_TOKEN") end
local pace, connections = tonumber(os.getenv("PACE")), tonumber(os.getenv("CONNECTIONS"))

function request()
  at = at % #bodies + 1
  return wrk.format("POST", "/recommend", headers, bodies[at])
end

if pace then
  function delay() return -math.log(1 - math.random()) * connections / pace * 1000 end
end

function done(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("%d answers, %.0f a second, %d not 200, %d lost; ms: p50 %.1f, p90 %.1f, p99 %.1f, most %.1f\n",
    summary.requests, summary.requests / (summary.duration / 1e6), summary.errors.status, failed,
    latency:percentile(50) / 1000, latency:percentile(90) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
