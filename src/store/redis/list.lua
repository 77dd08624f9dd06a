-- An owner's conversations, newest first.
-- KEYS session, list
-- ARGV whether the owner is a session, base, conversation before the first one (or nothing), limit
-- Gives the conversations, a session's each with its head; nothing where there is no such conversation before them.

local after = ARGV[3]
if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then
  if after ~= '' then return false end
  return {}
end
local start = 0
if after ~= '' then
  local rank = redis.call('ZREVRANK', KEYS[2], after)
  if not rank then return false end
  start = rank + 1
end
local found = redis.call('ZREVRANGE', KEYS[2], start, start + tonumber(ARGV[4]) - 1)
if ARGV[1] == '0' then return found end
local out = {}
for _, conversation in ipairs(found) do
  out[#out + 1] = conversation
  out[#out + 1] = redis.call('HMGET', ARGV[2] .. ':c:' .. conversation, 'created', 'meta', 'hidden')
end
return out
