-- Enters a node. ARGV: 1 node, 2 lease ms, 3 what an operator wants to know of it,
--       then for each lane that is held up: lane digit, reason.
even_when_full()
local now_ms = server_ms()
redis.call('ZADD', NODES, now_ms + tonumber(ARGV[2]), ARGV[1])
-- From the first lease on it shows if this server's clock is set (heartbeat.lua).
redis.call('HSETNX', COUNTERS, 'beat', now_ms)
redis.call('HSET', INFO, ARGV[1], ARGV[3])
-- Whoever has entered may claim, and nobody else; so if this server has forgotten everything, no claim comes before.
for i = 4, #ARGV, 2 do
  redis.call('HSET', PAUSED, ARGV[i], ARGV[i + 1])
end
return redis.status_reply('OK')
