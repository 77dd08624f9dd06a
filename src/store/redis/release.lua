-- Ends a running turn's lease.
-- KEYS head
-- ARGV turn, fence

local found = redis.call('HMGET', KEYS[1], 'turn', 'fence')
if found[1] == ARGV[1] and found[2] == ARGV[2] then redis.call('HSET', KEYS[1], 'lease', 0) end
return 1
