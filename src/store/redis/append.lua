-- Stores events of a running turn and renews its lease.
-- KEYS head, events, [session]
-- ARGV turn, fence, lease in ms, this server, channel, number of the first event, events ...
-- Gives 0, 1 where cancelling was asked for, -1 where the turn is not this fence's to write or its session has ended, -2
-- where events are missing.

if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 0 then return -1 end
local found = redis.call('HMGET', KEYS[1], 'turn', 'fence', 'cancel', 'watch')
if found[1] ~= ARGV[1] or found[2] ~= ARGV[2] then return -1 end

local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
if #ARGV > 6 then
  -- What is stored already stays as it is.
  local from = 7 + redis.call('LLEN', KEYS[2]) - (tonumber(ARGV[6]) - 1)
  if from < 7 then return -2 end
  for start = from, #ARGV, 1000 do
    redis.call('RPUSH', KEYS[2], unpack(ARGV, start, math.min(start + 999, #ARGV)))
  end
end
redis.call('HSET', KEYS[1], 'lease', string.format('%.0f', clock + tonumber(ARGV[3])))
if found[4] and tonumber(found[4]) > clock then
  redis.call('PUBLISH', ARGV[5], ARGV[4] .. ' e ' .. ARGV[1])
end
return found[3] and 1 or 0
