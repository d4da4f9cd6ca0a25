-- Settles what has ended and claims what is next, in one round trip.
-- ARGV: 1 node, 2 now ms, 3 slots free, 4 'crisis' or 'general', 5 ageing ms,
--       6 number of acks, 7 number of retries, 8 number of returns,
--       then the acks (ids), the retries (id, run-at ms) and the returns (ids).
-- Answers: the claimed jobs (lane digit, crash digit, element), 1 if more is waiting than was looked at, and, if slots are
-- left, when the next job's time comes (0: none is known).
local node, now_ms, slots = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local general, ageing_ms = ARGV[4] == 'general', tonumber(ARGV[5])
local acks, retries, returns = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

even_when_full()
if lease_is_lost(node) then
  return lease_lost_reply()
end

local next_arg = 9
local crashes_known = redis.call('EXISTS', CRASHES) == 1

if acks > 0 then
  local ids = {}
  for i = 1, acks do
    ids[i] = ARGV[next_arg]
    next_arg = next_arg + 1
  end
  local claims = redis.call('HMGET', CLAIMS, unpack(ids))
  redis.call('HDEL', CLAIMS, unpack(ids))
  if crashes_known then
    redis.call('HDEL', CRASHES, unpack(ids))
  end
  for i = 1, acks do
    if claims[i] then
      end_turn(string.sub(claims[i], 2))
    end
  end
end

for _ = 1, retries do
  local id, run_at_ms = ARGV[next_arg], tonumber(ARGV[next_arg + 1])
  next_arg = next_arg + 2
  local claim = redis.call('HGET', CLAIMS, id)
  if claim then
    local lane, element = string.sub(claim, 1, 1), string.sub(claim, 2)
    redis.call('HDEL', CLAIMS, id)
    redis.call('HDEL', CRASHES, id)
    end_turn(element)
    put(lane, element, run_at_ms, now_ms)
  end
end

for _ = 1, returns do
  local id = ARGV[next_arg]
  next_arg = next_arg + 1
  local claim = redis.call('HGET', CLAIMS, id)
  if claim then
    redis.call('HDEL', CLAIMS, id)
    give_back(string.sub(claim, 1, 1), string.sub(claim, 2))
  end
end

local taken, records = {}, {}
local unseen = false

local function promote(lane)
  local due = redis.call('ZRANGEBYSCORE', LATER[lane], '-inf', now_ms, 'LIMIT', 0, 64)
  if due[1] then
    redis.call('ZREM', LATER[lane], unpack(due))
    redis.call('RPUSH', WAITING[lane], unpack(due))
  end
end

-- Takes up to `want` jobs from the front of a lane; jobs whose turn is held are parked on the way.
-- It looks at most at `want` + 256, so that a flood of one subject cannot hold the server.
local function take(lane, want)
  local got, budget = 0, want + 256
  while got < want and budget > 0 do
    local popped = redis.call('LPOP', WAITING[lane], math.min(want - got, budget))
    if not popped then
      return got
    end
    budget = budget - #popped
    for _, element in ipairs(popped) do
      local id, turn = id_of(element), turn_of(element)
      if turn ~= '' and redis.call('HSETNX', TURNS, turn, id) == 0 then
        park(lane, element)
      else
        got = got + 1
        local crashes = '0'
        if crashes_known then
          crashes = string.sub(redis.call('HGET', CRASHES, id) or '0', 1, 1)
        end
        taken[#taken + 1] = lane .. crashes .. element
        records[#records + 1] = id
        records[#records + 1] = lane .. element
      end
    end
  end
  unseen = unseen or (budget <= 0 and got < want)
  return got
end

local function is_open(lane)
  return redis.call('HEXISTS', PAUSED, lane) == 0
end

promote('0')
if slots > 0 and is_open('0') then
  slots = slots - take('0', slots)
end

if general and slots > 0 then
  for lane = 1, 4 do
    promote(tostring(lane))
  end
  local open = {}
  for lane = 1, 4 do
    open[tostring(lane)] = is_open(tostring(lane))
  end

  -- Ten turns of the weighted lanes: 6 realtime, 3 standard, 1 background, well mixed.
  local WEIGHTS = { '2', '3', '2', '2', '3', '2', '4', '2', '3', '2' }
  local position = redis.call('HINCRBY', COUNTERS, 'position', slots) - slots

  -- What has waited too long goes first: an eighth of the slots, or every tenth claim if there are fewer than eight.
  local aged = math.floor(slots / 8)
  if aged == 0 and position % 10 == 0 then
    aged = 1
  end
  for lane = 4, 2, -1 do
    local name = tostring(lane)
    if aged > 0 and open[name] then
      local head = redis.call('LINDEX', WAITING[name], 0)
      if head then
        local a, b, c, d, e, f = string.byte(head, 1, 6)
        local born_ms = ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
        if now_ms - born_ms > ageing_ms then
          local got = take(name, 1)
          aged = aged - got
          slots = slots - got
        end
      end
    end
  end

  if slots > 0 and open['1'] then
    slots = slots - take('1', slots)
  end
  if slots > 0 then
    local share = { ['2'] = 0, ['3'] = 0, ['4'] = 0 }
    for i = 1, slots do
      local lane = WEIGHTS[(position + i) % 10 + 1]
      share[lane] = share[lane] + 1
    end
    for lane = 2, 4 do
      local name = tostring(lane)
      if share[name] > 0 and open[name] then
        slots = slots - take(name, share[name])
      end
    end
    -- What one lane cannot fill, the others may.
    for lane = 2, 4 do
      local name = tostring(lane)
      if slots > 0 and open[name] then
        slots = slots - take(name, slots)
      end
    end
  end
  if slots > 0 and not unseen then
    redis.call('SADD', IDLE, node)
  else
    redis.call('SREM', IDLE, node)
  end
end

if #records > 0 then
  redis.call('HSET', CLAIMS, unpack(records))
end

local next_ms = 0
if slots > 0 then
  for lane = 0, general and 4 or 0 do
    local first = redis.call('ZRANGE', LATER[tostring(lane)], 0, 0, 'WITHSCORES')
    local due_ms = tonumber(first[2])
    if due_ms and (next_ms == 0 or due_ms < next_ms) then
      next_ms = due_ms
    end
  end
end
return { taken, unseen and 1 or 0, next_ms }
