-- Ends a running turn's lease.
-- KEYS head, [session]
-- ARGV turn, fence

if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 0 then return 1 end
local found = redis.call('HMGET', KEYS[1], 'turn', 'fence')
if found[1] == ARGV[1] and found[2] == ARGV[2] then redis.call('HSET', KEYS[1], 'lease', 0) end
return 1
