-- Shared by every script. KEYS are the same for all of them and carry one hash tag, so a lane group is one cluster slot.
--
--  1 nodes      zset   node -> end of its lease, in ms of this server's clock
--  2 info       hash   node -> what an operator wants to know of it
--  3 claims     hash   job id -> lane digit and element, for the node that calls (or that is reaped)
--  4 to  8      list   the waiting jobs of each lane, first in front
--  9 to 13      zset   the jobs of each lane whose time has not come, scored by run-at ms
-- 14 turns      hash   turn -> job id that holds it
-- 15 parked     zset   turn, lane digit, sequence, element: waiting for a turn, in order
-- 16 crashes    hash   job id -> workers it has seen die, with a trailing b while it runs as a suspect
-- 17 paused     hash   lane digit -> reason
-- 18 counters   hash   small numbers: the weights' position, the parked sequence, the parked jobs of each lane
-- 19 quarantine list   job ids that have seen too many workers die
-- 20 idle       set    nodes that found nothing to claim
-- 21 wake       the channel on which idle nodes listen
--
-- An element is a job's id (16 bytes) and, if it takes turns, its turn (8 bytes).
local NODES, INFO, CLAIMS = KEYS[1], KEYS[2], KEYS[3]
local WAITING = { ['0'] = KEYS[4], ['1'] = KEYS[5], ['2'] = KEYS[6], ['3'] = KEYS[7], ['4'] = KEYS[8] }
local LATER = { ['0'] = KEYS[9], ['1'] = KEYS[10], ['2'] = KEYS[11], ['3'] = KEYS[12], ['4'] = KEYS[13] }
local TURNS, PARKED, CRASHES, PAUSED = KEYS[14], KEYS[15], KEYS[16], KEYS[17]
local COUNTERS, QUARANTINE, IDLE, WAKE = KEYS[18], KEYS[19], KEYS[20], KEYS[21]

-- Redis asks whether it is full only until a script's first write. This one is never refused for want of memory and
-- changes nothing: the channel is no key. On a replica it fails, as any write does.
local function even_when_full()
  redis.call('PEXPIRE', WAKE, 1)
end

local function server_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

local function id_of(element)
  return string.sub(element, 1, 16)
end

local function turn_of(element)
  return string.sub(element, 17, 24)
end

-- A lease that was taken away fences off everything the node still wants to say.
local function lease_is_lost(node)
  return not redis.call('ZSCORE', NODES, node)
end

local function lease_lost_reply()
  return redis.error_reply('LEASELOST the lease of this node has been taken away')
end

-- Puts a job where its time says.
local function put(lane, element, run_at_ms, now_ms)
  if run_at_ms > now_ms then
    redis.call('ZADD', LATER[lane], run_at_ms, element)
  else
    redis.call('RPUSH', WAITING[lane], element)
  end
end

local function park(lane, element)
  local sequence = redis.call('HINCRBY', COUNTERS, 'sequence', 1)
  redis.call('ZADD', PARKED, 0, turn_of(element) .. lane .. string.format('%016x', sequence) .. element)
  redis.call('HINCRBY', COUNTERS, 'parked:' .. lane, 1)
end

-- Lets the next one for a turn go to the front of its lane: the first of the most urgent lane that is open, or of the most
-- urgent one if none is.
local function unpark(turn)
  local chosen
  for lane = 0, 4 do
    local found = redis.call('ZRANGEBYLEX', PARKED, '[' .. turn .. lane, '(' .. turn .. (lane + 1), 'LIMIT', 0, 1)[1]
    if found then
      chosen = chosen or found
      if redis.call('HEXISTS', PAUSED, tostring(lane)) == 0 then
        chosen = found
        break
      end
    end
  end
  if chosen then
    local lane = string.sub(chosen, 9, 9)
    redis.call('ZREM', PARKED, chosen)
    redis.call('HINCRBY', COUNTERS, 'parked:' .. lane, -1)
    redis.call('LPUSH', WAITING[lane], string.sub(chosen, 26))
  end
end

local function end_turn(element)
  local turn = turn_of(element)
  if turn ~= '' and redis.call('HGET', TURNS, turn) == id_of(element) then
    redis.call('HDEL', TURNS, turn)
    unpark(turn)
  end
end

-- Back to the front of its own lane. It keeps its place before those parked behind it, so nobody is unparked.
local function give_back(lane, element)
  local turn = turn_of(element)
  if turn ~= '' and redis.call('HGET', TURNS, turn) == id_of(element) then
    redis.call('HDEL', TURNS, turn)
  end
  redis.call('LPUSH', WAITING[lane], element)
end
