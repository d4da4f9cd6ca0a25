-- Extends a node's lease. ARGV: 1 node, 2 lease ms. Answers with the nodes whose lease has run out (at most 16).
-- Leases are counted by this server's clock. If it was set, or if this server stood still, everybody's lease seems to
-- have run out at once (or never to run out): nobody's has been extended for half a lease, or the last time is yet to
-- come. Then all of them begin anew, and whoever is dead is found out one lease later.
even_when_full()
local now_ms = server_ms()
if lease_is_lost(ARGV[1]) then
  return lease_lost_reply()
end
redis.call('ZADD', NODES, 'XX', now_ms + tonumber(ARGV[2]), ARGV[1])
local last_ms = tonumber(redis.call('HGET', COUNTERS, 'beat') or now_ms)
redis.call('HSET', COUNTERS, 'beat', now_ms)
if now_ms < last_ms or now_ms - last_ms > tonumber(ARGV[2]) / 2 then
  for _, node in ipairs(redis.call('ZRANGE', NODES, 0, -1)) do
    redis.call('ZADD', NODES, 'XX', now_ms + tonumber(ARGV[2]), node)
  end
  return {}
end
return redis.call('ZRANGEBYSCORE', NODES, '-inf', '(' .. now_ms, 'LIMIT', 0, 16)
