-- Whether scripts and writes are welcome here; and what the clocks show of those who ask.
-- ARGV: 1 who asks, 2 how far this server's clock is ahead of theirs in ms, empty if they do not know it yet,
--       3 the present life of the server that they mean, empty if it does not say.
-- Answers: this server's clock in ms, then who asks and by how much it is ahead, one after the other.
even_when_full()
-- What a replica has from its primary, or a file from another machine, is about another clock. Whoever has not noticed
-- yet that the server is another one may leave such a thing here for a moment, and the next one takes it away.
if ARGV[3] ~= '' and redis.call('HGET', COUNTERS, 'clocks') ~= ARGV[3] then
  redis.call('DEL', CLOCKS)
  redis.call('HSET', COUNTERS, 'clocks', ARGV[3])
end
if ARGV[2] ~= '' then
  -- Those that are no more are forgotten sometime; whoever is alive is back within a second.
  if redis.call('HLEN', CLOCKS) >= 512 then
    redis.call('DEL', CLOCKS)
  end
  redis.call('HSET', CLOCKS, ARGV[1], ARGV[2])
end
local answer = { server_ms() }
for _, value in ipairs(redis.call('HGETALL', CLOCKS)) do
  answer[#answer + 1] = tonumber(value)
end
return answer
