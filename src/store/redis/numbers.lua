-- The numbers of items: a part of add.lua, finish.lua and remove_item.lua.
-- An item's number is its place in the list, and no number is given twice. Where the newest items are removed their places
-- are gone, so the head counts the numbers that the next item is to leave out, as `skip`. Before it is put behind them they
-- get places again, as gaps.

-- That count. In a head of an older version, which gave numbers again, it follows from the last numbers that turns knew.
local function skipped(head, items, turns, known)
  if known then return tonumber(known) end
  local length, order = redis.call('LLEN', items), head .. ':t'
  local most = length
  for start = 0, redis.call('LLEN', order) - 1, 500 do
    local fields = redis.call('LRANGE', order, start, start + 499)
    for i, turn in ipairs(fields) do fields[i] = turn .. '+' end
    for _, ended in ipairs(redis.call('HMGET', turns, unpack(fields))) do
      most = math.max(most, tonumber(ended and string.match(ended, '\n(%d+)$') or 0))
    end
  end
  return most - length
end
