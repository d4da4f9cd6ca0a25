-- Gives back everything that a dead node held, oldest first at the front of its lane (claim.lua serves it before all
-- lanes but crises), and forgets the node. CLAIMS are the dead node's.
-- ARGV: 1 node, 2 crashes after which a job is quarantined, 3 'expired' if its lease must have run out, 4 'crashed' or 'left',
--       5 until when a suspect waits that was running, in ms of the clock by which jobs wait for their time,
--       6 crashes after which a crisis is quarantined.
-- A job's first crash makes it a suspect. A suspect's crash only counts if it was really running (see suspect.lua), so that
-- jobs which merely waited beside a poison pill are never quarantined with it.
-- After its first crash a job goes on at once, beside all others; after its second it runs alone among its like (see pool/run.rs).
-- A suspect that was running waits a while: if it is a poison pill, others are done before it kills again; if it is innocent,
-- whatever keeps killing its workers within moments does not meet it again. Whoever may see one death more waits so after
-- everybody's death, ten minutes at most (see claim.lua): of ten deaths within half a minute an innocent one was seen to
-- run into its third by chance, and one that ran after a minute of waiting, while workers still died every three seconds,
-- too. A crisis job never waits; instead, because it may be met again at once without any fault of its own, it is given up
-- only after nine.
-- Answers: jobs given back.
even_when_full()
local node, crashes_max, crisis_crashes_max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[6])
if ARGV[3] == 'expired' then
  local lease_end = redis.call('ZSCORE', NODES, node)
  if not lease_end or tonumber(lease_end) >= server_ms() then
    return 0
  end
end
if ARGV[4] == 'crashed' then
  redis.call('HSET', COUNTERS, 'suspects_wait_until', ARGV[5])
end
local claims = redis.call('HGETALL', CLAIMS)
local held = {}
for i = 1, #claims, 2 do
  held[#held + 1] = { id = claims[i], lane = string.sub(claims[i + 1], 1, 1), element = string.sub(claims[i + 1], 2) }
end
table.sort(held, function(one, other) return one.id > other.id end)
for _, claim in ipairs(held) do
  local crashes, was_running = 0, false
  if ARGV[4] == 'crashed' then
    local before = redis.call('HGET', CRASHES, claim.id)
    crashes = tonumber(string.sub(before or '0', 1, 1))
    was_running = before and string.sub(before, 2, 2) == 'b'
    if not before or was_running then
      crashes = crashes + 1
    end
    redis.call('HSET', CRASHES, claim.id, tostring(crashes))
  end
  if crashes >= (claim.lane == '0' and crisis_crashes_max or crashes_max) then
    redis.call('HDEL', CRASHES, claim.id)
    redis.call('RPUSH', QUARANTINE, claim.id)
    end_turn(claim.lane, claim.element)
  elseif was_running and claim.lane ~= '0' then
    end_turn(claim.lane, claim.element)
    redis.call('ZADD', LATER[claim.lane], ARGV[5], claim.element)
  else
    give_back(claim.lane, claim.element)
  end
end
redis.call('DEL', CLAIMS)
redis.call('ZREM', NODES, node)
redis.call('HDEL', INFO, node)
redis.call('SREM', IDLE, node)
if #held > 0 then
  redis.call('PUBLISH', WAKE, '0')
end
return #held
