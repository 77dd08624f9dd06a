-- A conversation without its items.
-- KEYS session, head
-- ARGV whether the owner is a session

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return false end
return redis.call('HMGET', KEYS[2], 'created', 'meta', 'hidden')
