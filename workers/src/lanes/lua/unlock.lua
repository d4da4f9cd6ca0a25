-- Gives a lock back, unless it ran out and is somebody else's by now. KEYS: 1 the lock, 2 a name that is never a key.
-- ARGV: 1 who held it. Like the other scripts, even if the server is full.
redis.call('PEXPIRE', KEYS[2], 1)
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return redis.status_reply('OK')
