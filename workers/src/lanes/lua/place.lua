-- Puts jobs into their lanes and wakes whoever has nothing to do.
-- ARGV: 1 now ms, 2 '1' if the jobs go in even if the server is full (else all of them are refused then),
--       then for each job: lane digit, run-at ms, element.
if ARGV[2] == '1' then
  even_when_full()
end
local now_ms = tonumber(ARGV[1])
local pending = {}
local crisis = false
for i = 3, #ARGV, 3 do
  local lane, run_at_ms = ARGV[i], tonumber(ARGV[i + 1])
  if run_at_ms > now_ms then
    redis.call('ZADD', LATER[lane], run_at_ms, ARGV[i + 2])
  else
    local list = pending[lane] or {}
    list[#list + 1] = ARGV[i + 2]
    pending[lane] = list
  end
  crisis = crisis or lane == '0'
end
for lane, elements in pairs(pending) do
  redis.call('RPUSH', WAITING[lane], unpack(elements))
end
-- Whoever is woken for what has its time later takes nothing, and knows then when to look again.
if crisis or redis.call('SCARD', IDLE) > 0 then
  redis.call('PUBLISH', WAKE, crisis and '0' or '1')
end
return redis.status_reply('OK')
