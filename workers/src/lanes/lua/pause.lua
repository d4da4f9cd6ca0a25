-- Holds a lane up. ARGV: 1 lane digit, 2 reason.
even_when_full()
redis.call('HSET', PAUSED, ARGV[1], ARGV[2])
return redis.status_reply('OK')
