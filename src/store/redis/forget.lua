-- Deletes all that is in one slot of an owner: a session, or one conversation of an API key.
-- KEYS session, list, hidden, turns, documents, their order
-- ARGV base, notice and channel (or nothing), conversations ... (where they are not in the list)
-- Gives the turns that were running: fence, turn, conversation.

local base, running, keys = ARGV[1], {}, { unpack(KEYS) }
keys[#keys + 1] = base .. ':rate'
local conversations = redis.call('ZRANGE', KEYS[2], 0, -1)
for _, hidden in ipairs(redis.call('SMEMBERS', KEYS[3])) do conversations[#conversations + 1] = hidden end
for i = 4, #ARGV do conversations[#conversations + 1] = ARGV[i] end
for _, conversation in ipairs(conversations) do
  local head = base .. ':c:' .. conversation
  local state = redis.call('HMGET', head, 'turn', 'fence')
  if state[1] then running[#running + 1] = state[2] .. ' ' .. state[1] .. ' ' .. conversation end
  keys[#keys + 1] = head
  keys[#keys + 1] = head .. ':i'
  keys[#keys + 1] = head .. ':t'
end
for _, field in ipairs(redis.call('HKEYS', KEYS[4])) do
  local kind = string.sub(field, -1)
  if kind == '#' and ARGV[2] ~= '' then
    keys[#keys + 1] = redis.call('HGET', KEYS[4], field)
  elseif not string.find(kind, '[?+!#]') then
    keys[#keys + 1] = base .. ':t:' .. field .. ':e'
  end
end
for start = 1, #keys, 1000 do
  redis.call('UNLINK', unpack(keys, start, math.min(start + 999, #keys)))
end
if ARGV[2] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[2]) end
return running
