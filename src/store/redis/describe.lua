-- Replaces a conversation's metadata.
-- KEYS session, head
-- ARGV whether the owner is a session, metadata

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('HSET', KEYS[2], 'meta', ARGV[2])
return 1
