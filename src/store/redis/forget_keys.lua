-- How what leads to a turn is forgotten: a part of forget_key.lua, delete_turn.lua and delete_conversation.lua.

-- Removes an idempotency key, unless another turn has it now; of the tries of a key, the turn.
local function forget_key(key, turn)
  if redis.call('TYPE', key).ok == 'zset' then
    for _, try in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      if string.match(try, '^%S+') == turn then redis.call('ZREM', key, try) end
    end
    return
  end
  local known = redis.call('GET', key)
  if known and string.match(known, '^%-?%d+ (%S+)') == turn then redis.call('UNLINK', key) end
end
