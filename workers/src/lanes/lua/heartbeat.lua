-- Extends a node's lease. ARGV: 1 node, 2 lease ms. Answers with the nodes whose lease has run out (at most 16).
even_when_full()
local now_ms = server_ms()
if lease_is_lost(ARGV[1]) then
  return lease_lost_reply()
end
redis.call('ZADD', NODES, 'XX', now_ms + tonumber(ARGV[2]), ARGV[1])
return redis.call('ZRANGEBYSCORE', NODES, '-inf', '(' .. now_ms, 'LIMIT', 0, 16)
