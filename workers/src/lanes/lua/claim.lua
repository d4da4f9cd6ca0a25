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
local quarantine_known = redis.call('EXISTS', QUARANTINE) == 1
local suspects_wait_until = tonumber(crashes_known and redis.call('HGET', COUNTERS, 'suspects_wait_until') or 0)

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
      end_turn(string.sub(claims[i], 1, 1), string.sub(claims[i], 2))
    end
  end
end

-- What the others have to be told: '0' if it is of a crisis. What goes back to the front is there for anybody; what is
-- set down for later is news if nobody can know of it, because all that they wait for comes after it.
local news = nil
for _ = 1, retries do
  local id, run_at_ms = ARGV[next_arg], tonumber(ARGV[next_arg + 1])
  next_arg = next_arg + 2
  local claim = redis.call('HGET', CLAIMS, id)
  if claim then
    local lane, element = string.sub(claim, 1, 1), string.sub(claim, 2)
    redis.call('HDEL', CLAIMS, id)
    redis.call('HDEL', CRASHES, id)
    end_turn(lane, element)
    put(lane, element, run_at_ms, now_ms)
    if redis.call('ZRANGE', LATER[lane], 0, 0)[1] == element then
      news = lane == '0' and lane or news or '1'
    end
  end
end

for _ = 1, returns do
  local id = ARGV[next_arg]
  next_arg = next_arg + 1
  local claim = redis.call('HGET', CLAIMS, id)
  if claim then
    local lane = string.sub(claim, 1, 1)
    redis.call('HDEL', CLAIMS, id)
    give_back(lane, string.sub(claim, 2))
    news = lane == '0' and lane or news or '1'
  end
end

local taken, records = {}, {}
local unseen = false

-- A suspect comes from a dead worker, and what does goes to the front; whatever else waited for its time takes its place
-- behind those who were there before.
local function promote(lane)
  local due = redis.call('ZRANGEBYSCORE', LATER[lane], '-inf', now_ms, 'LIMIT', 0, 64)
  if due[1] then
    redis.call('ZREM', LATER[lane], unpack(due))
    for _, element in ipairs(due) do
      local suspect = crashes_known and redis.call('HEXISTS', CRASHES, id_of(element)) == 1
      redis.call(suspect and 'LPUSH' or 'RPUSH', WAITING[lane], element)
    end
  end
end

local function is_open(lane)
  return redis.call('HEXISTS', PAUSED, lane) == 0
end

-- Whether a job may have its turn. A turn that rests is taken from a less urgent lane, or from one that is held up.
local function take_turn(lane, turn, id)
  if redis.call('HSETNX', TURNS, turn, id) == 1 then
    return true
  end
  local holder = redis.call('HGET', TURNS, turn)
  if #holder > 1 or (lane >= holder and is_open(holder)) then
    return false
  end
  redis.call('HSET', TURNS, turn, id)
  return true
end

-- The place at which a turn goes on has been reached: answers with the job that has it now. If somebody has taken the
-- turn meanwhile, the place means nothing any more.
local function go_on(lane, turn)
  redis.call('HINCRBY', COUNTERS, 'parked:' .. lane, 1)
  if redis.call('HGET', TURNS, turn) ~= lane then
    return nil
  end
  local parked = next_parked(turn)
  if parked and string.sub(parked, 9, 9) == lane then
    local element = string.sub(parked, 26)
    redis.call('ZREM', PARKED, parked)
    redis.call('HINCRBY', COUNTERS, 'parked:' .. lane, -1)
    redis.call('HSET', TURNS, turn, id_of(element))
    return element
  end
  redis.call('HDEL', TURNS, turn)
  if parked then
    unpark(parked)
  end
  return nil
end

-- Until when a job that may see one death more has to wait because somebody has just died, of whatever; nil if it may run.
-- Ten minutes in all: where somebody dies for ever it runs beside that, rather than never.
local SUSPECT_WAITS_MAX_MS = 600000
local function waits_until(lane, id)
  if lane == '0' or now_ms >= suspects_wait_until then
    return nil
  end
  local crashes = redis.call('HGET', CRASHES, id)
  if not crashes or string.sub(crashes, 1, 1) < '2' then
    return nil
  end
  local waits_since = string.sub(crashes, 2, 2) == 'w' and tonumber(string.sub(crashes, 3)) or now_ms
  local until_ms = math.min(suspects_wait_until, waits_since + SUSPECT_WAITS_MAX_MS)
  if until_ms <= now_ms then
    return nil
  end
  redis.call('HSET', CRASHES, id, string.sub(crashes, 1, 1) .. 'w' .. string.format('%.0f', waits_since))
  return until_ms
end

-- Takes up to `want` jobs from the front of a lane; jobs whose turn is held are parked on the way.
-- It looks at most at `budget`, or at `want` + 256, so that a flood of one subject cannot hold the server. Answers how many
-- it took, and whether it looked at all that it might have taken.
local function take(lane, want, budget)
  local got = 0
  budget = budget or want + 256
  while got < want and budget > 0 do
    local popped = redis.call('LPOP', WAITING[lane], math.min(want - got, budget))
    if not popped then
      return got, true
    end
    budget = budget - #popped
    for _, element in ipairs(popped) do
      local turn = turn_of(element)
      local until_ms = crashes_known and waits_until(lane, id_of(element))
      if quarantine_known and redis.call('LPOS', QUARANTINE, id_of(element)) then
        -- It lay in its lane twice, and is on its way to being buried; what was noted for the second one goes too.
        redis.call('HDEL', CRASHES, id_of(element))
        pass_on(turn)
        element = nil
      elseif #element > 24 then
        element = go_on(lane, turn)
      elseif until_ms then
        redis.call('ZADD', LATER[lane], until_ms, element)
        pass_on(turn)
        element = nil
      elseif turn ~= '' and not take_turn(lane, turn, id_of(element)) then
        park(lane, element)
        element = nil
      end
      if element then
        local id = id_of(element)
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
  unseen = unseen or got < want
  return got, got == want
end

promote('0')
if slots > 0 and is_open('0') then
  slots = slots - (take('0', slots))
end

if general and slots > 0 then
  for lane = 1, 4 do
    promote(tostring(lane))
  end
  local open = {}
  for lane = 1, 4 do
    open[tostring(lane)] = is_open(tostring(lane))
  end

  -- What a dead worker held had been chosen already, and goes before everything but crises, or it would wait behind the
  -- backlog of more urgent lanes. It lies at the front of its own. At most as many as there are slots are looked at.
  local looks = crashes_known and slots or 0
  for lane = 1, 4 do
    local name = tostring(lane)
    local front = looks > 0 and open[name] and redis.call('LRANGE', WAITING[name], 0, looks + 7) or {}
    for _, element in ipairs(front) do
      local crashes = redis.call('HGET', CRASHES, id_of(element))
      if not crashes or slots == 0 or looks == 0 then
        break
      end
      -- One that has seen more deaths runs alone, and would hold a slot until it may. Some of them are passed by.
      if string.sub(crashes, 1, 1) == '1' and redis.call('LREM', WAITING[name], 1, element) == 1 then
        redis.call('LPUSH', WAITING[name], element)
        slots = slots - (take(name, 1, 1))
        looks = looks - 1
      end
    end
  end

  -- Ten turns of the weighted lanes: 6 realtime, 3 standard, 1 background, well mixed.
  local WEIGHTS = { '2', '3', '2', '2', '3', '2', '4', '2', '3', '2' }
  local position = redis.call('HINCRBY', COUNTERS, 'position', slots) - slots

  -- What has waited too long goes first: every eighth slot, over all claims, however few slots each of them has.
  local aged = math.floor((position + slots) / 8) - math.floor(position / 8)
  for i = 0, 2 do
    -- Each time another lane is asked first, or the first one would take it all.
    local name = tostring(2 + (math.floor(position / 8) + i) % 3)
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

  local seen_all = true
  if slots > 0 and open['1'] then
    local got
    got, seen_all = take('1', slots)
    slots = slots - got
  end
  -- What is more urgent and has not been looked at yet keeps its slots: the next claim comes at once.
  if slots > 0 and seen_all then
    local share = { ['2'] = 0, ['3'] = 0, ['4'] = 0 }
    for i = 1, slots do
      local lane = WEIGHTS[(position + i) % 10 + 1]
      share[lane] = share[lane] + 1
    end
    for lane = 2, 4 do
      local name = tostring(lane)
      if share[name] > 0 and open[name] then
        slots = slots - (take(name, share[name]))
      end
    end
    -- What one lane cannot fill, the others may.
    for lane = 2, 4 do
      local name = tostring(lane)
      if slots > 0 and open[name] then
        slots = slots - (take(name, slots))
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

if news == '0' or (news and redis.call('SCARD', IDLE) > redis.call('SISMEMBER', IDLE, node)) then
  redis.call('PUBLISH', WAKE, news)
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
