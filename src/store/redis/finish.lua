-- Ends a turn: history, usage, status and last events.
-- KEYS head, items, turns, events, [session]
-- ARGV turn, conversation, fence, end, how long events are kept in ms, this server, channel, number of the first event,
--      number of items, answer (or nothing), items ..., events ...
-- Gives 1 where it is stored (now, or before under the same fence), 0 where it is not this fence's to write or its session
-- has ended, -2 where events are missing.

local head, items, turns, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
if KEYS[5] and redis.call('EXISTS', KEYS[5]) == 0 then return 0 end
local turn, fence, count = ARGV[1], ARGV[3], tonumber(ARGV[9])
local found = redis.call('HMGET', head, 'turn', 'fence', 'attempt', 'version', 'tokens', 'watch', 'waits', 'skip')
if found[1] ~= turn then
  local ended = redis.call('HGET', turns, turn .. '+')
  return ended and string.match(ended, '^%d+') == fence and 1 or 0
end
if found[2] ~= fence then return 0 end

local first_event = 11 + count
local stored = redis.call('LLEN', events)
local from = first_event + stored - (tonumber(ARGV[8]) - 1)
local last = math.max(stored, tonumber(ARGV[8]) - 1 + #ARGV - first_event + 1)
if #ARGV >= first_event and from < first_event then return -2 end

local skip = skipped(head, items, turns, found[8])
local tokens, items_then = push(head, items, tonumber(found[5]), skip, 11, 10 + count)
local version = string.format('%.0f', found[4] + 1)
redis.call('HSET', head, 'version', version, 'tokens', string.format('%.0f', tokens), 'skip', items_then and 0 or skip)
redis.call('HDEL', head, 'turn', 'fence', 'attempt', 'lease', 'by', 'cancel', 'watch', 'waits')
local record = fence .. ' ' .. found[3] .. ' ' .. string.format('%.0f ', last) .. ARGV[4]
record = record .. '\n' .. (items_then or redis.call('LLEN', items) + skip)
if ARGV[10] == '' then
  redis.call('HSET', turns, turn .. '+', record)
else
  redis.call('HSET', turns, turn .. '+', record, turn .. '!', ARGV[10])
end
for start = from, #ARGV, 1000 do
  redis.call('RPUSH', events, unpack(ARGV, start, math.min(start + 999, #ARGV)))
end
redis.call('PEXPIRE', events, ARGV[5])
-- Only where another server has looked; the notice costs every server something.
if found[6] or found[7] then
  redis.call('PUBLISH', ARGV[7], ARGV[6] .. ' f ' .. turn .. ' ' .. ARGV[2])
end
return 1
