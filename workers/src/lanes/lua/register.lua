-- Enters a node. ARGV: 1 node, 2 lease ms, 3 what an operator wants to know of it.
even_when_full()
redis.call('ZADD', NODES, server_ms() + tonumber(ARGV[2]), ARGV[1])
redis.call('HSET', INFO, ARGV[1], ARGV[3])
return redis.status_reply('OK')
