-- Shared by every script. KEYS are the same for all of them and carry one hash tag, so a lane group is one cluster slot.
--
--  1 nodes      zset   node -> end of its lease, in ms of this server's clock
--  2 info       hash   node -> what an operator wants to know of it
--  3 claims     hash   job id -> lane digit and element, for the node that calls (or that is reaped)
--  4 to  8      list   the waiting jobs of each lane, first in front
--  9 to 13      zset   the jobs of each lane whose time has not come, scored by run-at ms
-- 14 turns      hash   turn -> job id that holds it, or the digit of the lane in which it rests
-- 15 parked     zset   turn, lane digit, birth (6 bytes), sequence (10 hexadecimal digits), element: waiting for a turn,
--                      the eldest first
-- 16 crashes    hash   job id -> workers it has seen die, with a trailing b while it runs as a suspect, or w and since when
--                      it waits because others die (in ms)
-- 17 paused     hash   lane digit -> reason
-- 18 counters   hash   small numbers: the weights' position, the parked sequence, the parked jobs of each lane, the
--                      last extension of a lease in ms of this server's clock, and in which life of the server the
--                      clocks were compared
-- 19 quarantine list   job ids that have seen too many workers die
-- 20 idle       set    nodes that found nothing to claim
-- 21 wake       the channel on which idle nodes listen
-- 22 recent     hash   two bytes of a turn -> jobs that have had it lately while others waited
-- 23 clocks     hash   who records jobs -> how far this server's clock is ahead of theirs, in ms
--
-- An element is a job's id (16 bytes) and, if it takes turns, its turn (8 bytes). One byte more, and it is no job but the
-- place in its lane at which a turn that rests goes on; it begins with the instant of its making, as an id does.
local NODES, INFO, CLAIMS = KEYS[1], KEYS[2], KEYS[3]
local WAITING = { ['0'] = KEYS[4], ['1'] = KEYS[5], ['2'] = KEYS[6], ['3'] = KEYS[7], ['4'] = KEYS[8] }
local LATER = { ['0'] = KEYS[9], ['1'] = KEYS[10], ['2'] = KEYS[11], ['3'] = KEYS[12], ['4'] = KEYS[13] }
local TURNS, PARKED, CRASHES, PAUSED = KEYS[14], KEYS[15], KEYS[16], KEYS[17]
local COUNTERS, QUARANTINE, IDLE, WAKE, RECENT = KEYS[18], KEYS[19], KEYS[20], KEYS[21], KEYS[22]
local CLOCKS = KEYS[23]

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

-- By birth, so that what a dead worker gave back does not go behind what came after it; a job's id begins with it.
local function park(lane, element)
  local sequence = redis.call('HINCRBY', COUNTERS, 'sequence', 1) % 0x10000000000
  local place = string.sub(element, 1, 6) .. string.format('%010x', sequence)
  redis.call('ZADD', PARKED, 0, turn_of(element) .. lane .. place .. element)
  redis.call('HINCRBY', COUNTERS, 'parked:' .. lane, 1)
end

-- Which one is next for a turn: the first of the most urgent lane that is open, or of the most urgent one if none is.
local function next_parked(turn)
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
  return chosen
end

-- Lets it go to the front of its lane.
local function unpark(parked)
  local lane = string.sub(parked, 9, 9)
  redis.call('ZREM', PARKED, parked)
  redis.call('HINCRBY', COUNTERS, 'parked:' .. lane, -1)
  redis.call('LPUSH', WAITING[lane], string.sub(parked, 26))
end

-- A job of this turn has gone that may have been the next to have it. If nobody has the turn, one that waits for it goes
-- on, or none ever would: parked jobs are let go at the end of a turn and nowhere else. Answers whether one does.
local function pass_on(turn)
  if turn == '' or redis.call('HEXISTS', TURNS, turn) == 1 then
    return false
  end
  local parked = next_parked(turn)
  if not parked then
    return false
  end
  unpark(parked)
  return true
end

-- Six bytes, as an id begins.
local function instant(ms)
  local bytes = {}
  for i = 6, 1, -1 do
    bytes[i] = string.char(ms % 256)
    ms = math.floor(ms / 256)
  end
  return table.concat(bytes)
end

-- Whether a turn has had more than its share lately while others waited: more than 4 jobs of about the last 500. Turns
-- whose first two bytes are the same are taken for one; being taken for a greedy one costs a pass of the lane at most.
local function is_greedy(lane, turn)
  if redis.call('LLEN', WAITING[lane]) == 0 then
    return false
  end
  local had = redis.call('HINCRBY', RECENT, string.sub(turn, 1, 2), 1)
  if had >= 64 or redis.call('HLEN', RECENT) >= 512 then
    redis.call('DEL', RECENT)
  end
  return had > 4
end

-- The turn of one who has had more than his share rests until everybody who waits in the lane now has been served, or
-- whoever has a long queue would hold the lane with it. Meanwhile what comes for it is parked, in order. What is parked
-- in a more urgent lane goes on all the same: it takes nothing from the others of this one.
local function end_turn(lane, element)
  local turn = turn_of(element)
  if turn == '' or redis.call('HGET', TURNS, turn) ~= id_of(element) then
    return
  end
  local greedy, parked = is_greedy(lane, turn), next_parked(turn)
  if greedy and not (parked and string.sub(parked, 9, 9) < lane) then
    redis.call('HSET', TURNS, turn, lane)
    redis.call('RPUSH', WAITING[lane], instant(server_ms()) .. string.rep('\0', 10) .. turn .. '+')
    -- It is no job; whoever counts the lane need not know that.
    redis.call('HINCRBY', COUNTERS, 'parked:' .. lane, -1)
    return
  end
  redis.call('HDEL', TURNS, turn)
  if parked then
    unpark(parked)
  end
end

-- Back to the front of its own lane. It keeps its place before those parked behind it, so nobody is unparked;
-- whoever takes it out of the lane passes the turn on.
local function give_back(lane, element)
  local turn = turn_of(element)
  if turn ~= '' and redis.call('HGET', TURNS, turn) == id_of(element) then
    redis.call('HDEL', TURNS, turn)
  end
  redis.call('LPUSH', WAITING[lane], element)
end
