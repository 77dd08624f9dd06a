-- A turn's record.
-- KEYS session, turns
-- ARGV base, whether the owner is a session, turn

if ARGV[2] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return false end
return state(ARGV[1], KEYS[2], ARGV[3])
