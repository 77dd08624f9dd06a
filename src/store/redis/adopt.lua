-- Takes over a turn whose lease has ended.
-- KEYS head, turns, events
-- ARGV turn, lease in ms, this server
-- Gives whether it was taken over, fence and lease as they are now, attempt, last event, place and age, request; nothing
-- where the turn is not running.

local found = redis.call('HMGET', KEYS[1], 'turn', 'fence', 'attempt', 'lease')
if found[1] ~= ARGV[1] then return false end
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(found[4]) > clock then return { '0', found[2], found[4] } end

local fence, attempt = string.format('%.0f', found[2] + 1), string.format('%.0f', found[3] + 1)
local lease = string.format('%.0f', clock + tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'fence', fence, 'attempt', attempt, 'lease', lease, 'by', ARGV[3])
local record = redis.call('HMGET', KEYS[2], ARGV[1], ARGV[1] .. '?')
return { '1', fence, lease, attempt, tostring(redis.call('LLEN', KEYS[3])), record[1], record[2] }
