-- Stores a document.
-- KEYS session, documents, their order
-- ARGV whether the owner is a session, kind, id, created, JSON
-- Gives 1, 0 where the session is unknown.

local kept = false
if ARGV[1] == '1' then
  local stored = redis.call('GET', KEYS[1])
  if not stored then return 0 end
  kept = kept_until(stored)
end
local kind, id = ARGV[2], ARGV[3]
local field = kind .. ' ' .. id
local known = redis.call('HGET', KEYS[2], field)
if known then
  redis.call('HSET', KEYS[2], field, string.match(known, '^%d+ %-?%d+ ') .. ARGV[5])
  return 1
end

-- All have the same score, so that they are sorted by kind and place. '!' is the next character after the space.
local last = redis.call('ZREVRANGEBYLEX', KEYS[3], '(' .. kind .. '!', '[' .. kind .. ' ', 'LIMIT', 0, 1)[1]
local place = string.format('%016.0f', last and string.match(last, '^%S+ (%d+)') + 1 or 1)
redis.call('HSET', KEYS[2], field, place .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
redis.call('ZADD', KEYS[3], 0, kind .. ' ' .. place .. ' ' .. id)
if kept then
  redis.call('PEXPIREAT', KEYS[2], kept)
  redis.call('PEXPIREAT', KEYS[3], kept)
end
return 1
