-- Deletes a conversation with its items, turns and events.
-- KEYS session, head, items, order, turns, list
-- ARGV base, whether the owner is a session, conversation, this server, channel, again
-- Gives the fence and the turn that was running, or an empty string; nothing where the conversation is unknown.

local is_session = ARGV[2] == '1'
if is_session and redis.call('EXISTS', KEYS[1]) == 0 then return false end
local found = redis.call('HMGET', KEYS[2], 'created', 'turn', 'fence')
if not found[1] then return ARGV[6] == '1' and '' end

for start = 0, redis.call('LLEN', KEYS[4]) - 1, 500 do
  forget_turns(ARGV[1], KEYS[5], redis.call('LRANGE', KEYS[4], start, start + 499), is_session)
end
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
if is_session then
  redis.call('ZREM', KEYS[6], ARGV[3])
  redis.call('SREM', ARGV[1] .. ':hidden', ARGV[3])
end
if not found[2] then return '' end
redis.call('PUBLISH', ARGV[5], ARGV[4] .. ' c ' .. found[2])
return found[3] .. ' ' .. found[2]
