-- Asks the server that runs a turn to cancel it.
-- KEYS session, turns
-- ARGV base, whether the owner is a session, turn, this server, channel

if ARGV[2] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 'U' end
local found = redis.call('HMGET', KEYS[2], ARGV[3], ARGV[3] .. '+')
if not found[1] then return 'U' end
if found[2] then return 'A' .. string.match(found[2], '^%d+ %d+ %d+ (%S+)') end
redis.call('HSET', ARGV[1] .. ':c:' .. string.match(found[1], '^%S+'), 'cancel', 1)
redis.call('PUBLISH', ARGV[5], ARGV[4] .. ' c ' .. ARGV[3])
return 'R'
