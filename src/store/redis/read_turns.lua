-- The newest turns of a conversation, newest first.
-- KEYS session, turns, head, order
-- ARGV base, whether the owner is a session, limit

if ARGV[2] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return false end
if redis.call('EXISTS', KEYS[3]) == 0 then return false end
local limit, out = tonumber(ARGV[3]), {}
if limit > 0 then
  local turns = redis.call('LRANGE', KEYS[4], -limit, -1)
  for i = #turns, 1, -1 do out[#out + 1] = state(ARGV[1], KEYS[2], turns[i]) end
end
return out
