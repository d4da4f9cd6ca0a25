-- Takes out of a lane what nobody owes any more. ARGV: 1 lane digit, 2 'waiting', 'later' or 'parked', then for the waiting
-- list 3 how many elements from its end are passed over and 4 how many before those are looked at, then the elements (of
-- the parked: the members). Answers: how many were taken out, and how many others go on because of that.
local lane, place, passed, looked_at = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local taken, passed_on = 0, 0

local function forget(id)
  redis.call('HDEL', CRASHES, id)
  taken = taken + 1
end

if place == 'waiting' then
  local doomed = {}
  for i = 5, #ARGV do
    doomed[ARGV[i]] = true
  end
  local length = redis.call('LLEN', WAITING[lane])
  local first = math.max(length - passed - looked_at, 0)
  local window = redis.call('LRANGE', WAITING[lane], first, length - passed - 1)
  local left, stays = {}, {}
  for i, element in ipairs(window) do
    if doomed[element] then
      -- No element is empty, so all of these can be removed in one go.
      redis.call('LSET', WAITING[lane], first + i - 1, '')
      forget(id_of(element))
      left[turn_of(element)] = true
    elseif #element == 24 then
      stays[turn_of(element)] = true
    end
  end
  if taken > 0 then
    redis.call('LREM', WAITING[lane], -taken, '')
  end
  for turn in pairs(left) do
    -- What stays will have the turn, and let those go who are parked behind it.
    if not stays[turn] and pass_on(turn) then
      passed_on = passed_on + 1
    end
  end
elseif place == 'later' then
  for i = 5, #ARGV do
    if redis.call('ZREM', LATER[lane], ARGV[i]) == 1 then
      forget(id_of(ARGV[i]))
    end
  end
else
  for i = 5, #ARGV do
    if redis.call('ZREM', PARKED, ARGV[i]) == 1 then
      redis.call('HINCRBY', COUNTERS, 'parked:' .. lane, -1)
      forget(id_of(string.sub(ARGV[i], 26)))
    end
  end
end
return { taken, passed_on }
