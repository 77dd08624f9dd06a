-- An item by its id: a part of add.lua, read_item.lua, read_items.lua and remove_item.lua.
-- The list is walked back, since what is asked for is mostly new. One call looks at a few thousand items or megabytes, and
-- no more, so that others need not wait for a long list; the caller goes on from where it stopped.

-- Gives the item's number and its entry; or nothing twice, and the number to go on from (0 where all were looked at).
local function find(items, id, from)
  local looked, bytes = 0, 0
  from = math.min(from or math.huge, redis.call('LLEN', items))
  while from > 0 and looked < 4096 and bytes < 4000000 do
    local start = math.max(from - 63, 1)
    local part = redis.call('LRANGE', items, start - 1, from - 1)
    for i = #part, 1, -1 do
      if string.match(part[i], '^%d+ %d+ %-?%d+ %S+ (%S+)') == id then return start + i - 1, part[i] end
      bytes = bytes + #part[i]
    end
    looked = looked + #part
    from = start - 1
  end
  return nil, nil, from
end
