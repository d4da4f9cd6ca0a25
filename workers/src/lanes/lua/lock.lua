-- Takes a lock that runs out by itself, keeps it, or takes it over. KEYS: 1 the lock, 2 a name that is never a key.
-- ARGV: 1 who wants it, 2 after how many ms it runs out, 3 from whom it may be taken; empty if from nobody.
-- Answers: who holds it now. Like the other scripts, even if the server is full.
redis.call('PEXPIRE', KEYS[2], 1)
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then
  return holder
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
