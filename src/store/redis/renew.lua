-- Renews a session, or makes it.
-- KEYS session
-- ARGV base, for how long, now, whether it is made where there is none
-- Gives 1, 0 where there is none, 2 where it lives and the server takes no writes.

local stored = redis.call('GET', KEYS[1])
local now = tonumber(ARGV[3])
if not stored and ARGV[4] == '1' then
  renew(KEYS[1], ARGV[1], false, tonumber(ARGV[2]), now, clock_ms())
  return 1
end
if not stored then return 0 end
local done, failure = pcall(renew, KEYS[1], ARGV[1], stored, tonumber(ARGV[2]), now, clock_ms())
if done then return 1 end
-- A text before Redis 7.
local text = type(failure) == 'table' and failure.err or failure
if string.find(text, 'OOM ', 1, true) or string.find(text, 'MISCONF ', 1, true) then return 2 end
return type(failure) == 'table' and failure or redis.error_reply(failure)
