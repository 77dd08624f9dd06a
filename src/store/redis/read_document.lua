-- One document.
-- KEYS session, documents
-- ARGV whether the owner is a session, kind, id

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return false end
return redis.call('HGET', KEYS[2], ARGV[2] .. ' ' .. ARGV[3])
