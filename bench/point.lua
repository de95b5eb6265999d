-- wrk: GET one of the targets of a file, at random. wrk … -s bench/point.lua URL -- FILE
local targets = {}
function init(args)
  for line in io.lines(args[1]) do targets[#targets + 1] = wrk.format("GET", line) end
  math.randomseed(os.time())
end
-- PACE=MS: each connection rests so long between its requests
local rest = tonumber(os.getenv('PACE') or '0')
if rest > 0 then
  function delay() return rest end
end
function request() return targets[math.random(#targets)] end
-- what wrk does not print by itself
function done(summary, latency)
  io.write(string.format("latency_us %d %d %d\n", latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
