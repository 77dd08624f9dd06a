-- What the running turn of a conversation was asked: a part of history.lua, read_item.lua, read_items.lua and
-- remove_item.lua.

-- Gives ` <last number> <tokens> <age> <turn> <request>`, or an empty string where no turn runs. The numbers are those that
-- the turn's items go on from.
local function pending(head, items, turns)
  local found = redis.call('HMGET', head, 'turn', 'tokens', 'skip')
  if not found[1] then return '' end
  local asked = redis.call('HMGET', turns, found[1], found[1] .. '?')
  if not asked[1] or not asked[2] then return '' end
  local last = redis.call('LLEN', items) + tonumber(found[3] or 0)
  local age = string.match(asked[1], '%S+$')
  return ' ' .. table.concat({ last, found[2], age, found[1], asked[2] }, ' ')
end
