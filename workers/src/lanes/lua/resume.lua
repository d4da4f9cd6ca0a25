-- Lets a lane go on that is held up for this reason; one that somebody has held up anew meanwhile stays so. ARGV:
-- 1 lane digit, 2 reason.
even_when_full()
if redis.call('HGET', PAUSED, ARGV[1]) == ARGV[2] then
  redis.call('HDEL', PAUSED, ARGV[1])
  redis.call('PUBLISH', WAKE, '0')
end
return redis.status_reply('OK')
