-- Notes that a suspect (a job that has seen a worker die) is about to run. ARGV: 1 node, 2 job id.
even_when_full()
if lease_is_lost(ARGV[1]) then
  return lease_lost_reply()
end
local crashes = redis.call('HGET', CRASHES, ARGV[2])
if crashes then
  redis.call('HSET', CRASHES, ARGV[2], string.sub(crashes, 1, 1) .. 'b')
end
return redis.status_reply('OK')
