-- Forgets a turn, and a hidden conversation with its last one.
-- KEYS session, turns
-- ARGV base, whether the owner is a session, turn, again, this server, channel
-- Gives the turn's idempotency key, where it has one outside this slot, and the conversation, where that went along;
-- nothing where there is no such turn.

local base, turns, is_session, turn = ARGV[1], KEYS[2], ARGV[2] == '1', ARGV[3]
if is_session and redis.call('EXISTS', KEYS[1]) == 0 then return false end
local found = redis.call('HMGET', turns, turn, turn .. '+', turn .. '#')
if not found[1] then return ARGV[4] == '1' and { '', '' } end

local conversation = string.match(found[1], '^%S+')
local head = base .. ':c:' .. conversation
if not found[2] and redis.call('HGET', head, 'turn') == turn then
  redis.call('HDEL', head, 'turn', 'fence', 'attempt', 'lease', 'by', 'cancel', 'watch', 'waits')
  redis.call('PUBLISH', ARGV[6], ARGV[5] .. ' c ' .. turn)
end
forget_turns(base, turns, { turn }, is_session)
redis.call('LREM', head .. ':t', -1, turn)
local gone = redis.call('HGET', head, 'hidden') and redis.call('EXISTS', head .. ':t') == 0
if gone then
  redis.call('UNLINK', head, head .. ':i')
  if is_session then redis.call('SREM', base .. ':hidden', conversation) end
end
return { not is_session and found[3] or '', gone and conversation or '' }
