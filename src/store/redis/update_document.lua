-- Replaces a document that is there.
-- KEYS session, documents
-- ARGV whether the owner is a session, kind, id, JSON
-- Gives 1, 0 where there is none.

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local field = ARGV[2] .. ' ' .. ARGV[3]
local known = redis.call('HGET', KEYS[2], field)
if not known then return 0 end
redis.call('HSET', KEYS[2], field, string.match(known, '^%d+ %-?%d+ ') .. ARGV[4])
return 1
