-- Deletes a document.
-- KEYS session, documents, their order
-- ARGV whether the owner is a session, kind, id, again
-- Gives 1, 0 where there is none.

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local field = ARGV[2] .. ' ' .. ARGV[3]
local known = redis.call('HGET', KEYS[2], field)
if not known then return ARGV[4] == '1' and 1 or 0 end
redis.call('HDEL', KEYS[2], field)
redis.call('ZREM', KEYS[3], ARGV[2] .. ' ' .. string.match(known, '^%d+') .. ' ' .. ARGV[3])
return 1
