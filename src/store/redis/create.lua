-- Makes a conversation with its first items.
-- KEYS session, head, items, list
-- ARGV base, whether the owner is a session, conversation, whether it is hidden, metadata, now, again, items ...
-- Gives C, E where there is one, X where the session is unknown.

local kept = false
if ARGV[2] == '1' then
  local stored = redis.call('GET', KEYS[1])
  if not stored then return 'X' end
  kept = kept_until(stored)
end
local created = redis.call('HGET', KEYS[2], 'created')
if created then return ARGV[7] == '1' and created == ARGV[6] and 'C' or 'E' end

redis.call('HSET', KEYS[2], 'created', ARGV[6], 'version', 0, 'tokens', 0, 'skip', 0, 'meta', ARGV[5])
if ARGV[4] == '1' then redis.call('HSET', KEYS[2], 'hidden', 1) end
if kept then
  redis.call('PEXPIREAT', KEYS[2], kept)
  enlist(ARGV[1], ARGV[3], ARGV[4] == '1', ARGV[6], kept)
end
if #ARGV > 7 then
  local tokens = push(KEYS[2], KEYS[3], 0, 0, 8, #ARGV)
  redis.call('HSET', KEYS[2], 'tokens', string.format('%.0f', tokens))
end
return 'C'
