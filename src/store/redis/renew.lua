-- Renews a session.
-- KEYS session
-- ARGV base, for how long, now

local stored = redis.call('GET', KEYS[1])
local now = tonumber(ARGV[3])
if not stored or parse_session(stored) <= now then return 0 end
renew(KEYS[1], ARGV[1], stored, tonumber(ARGV[2]), now, clock_ms())
return 1
