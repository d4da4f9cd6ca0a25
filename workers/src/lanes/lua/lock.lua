-- Takes a lock that runs out by itself, unless somebody holds it. KEYS: 1 the lock, 2 a name that is never a key.
-- ARGV: 1 who takes it, 2 after how many ms it runs out. Like the other scripts, even if the server is full.
redis.call('PEXPIRE', KEYS[2], 1)
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
