-- Items among removed ones: a part of begin.lua, history.lua, read_items.lua, read_window.lua and remove_item.lua.
-- What is left of a removed item, where newer ones stand behind it, is `<tokens before> <tokens> gone`.

local function is_gap(entry)
  return string.find(entry, '^%d+ %d+ gone$') ~= nil
end

-- The tokens that gaps have among the totals. In a head of an older version, which did not count them, they follow from the
-- gaps.
local function lost_tokens(items, gaps, known)
  if known then return tonumber(known) end
  local left, lost, start = tonumber(gaps or 0), 0, 0
  while left > 0 do
    local part = redis.call('LRANGE', items, start, start + 499)
    if #part == 0 then break end
    for _, entry in ipairs(part) do
      if is_gap(entry) then
        lost, left = lost + string.match(entry, '^%d+ (%d+)'), left - 1
      end
    end
    start = start + 500
  end
  return lost
end

-- At most `limit` items of those with the numbers low to high, beginning with the newest or with the oldest. Gives the
-- entries, oldest first and gaps among them; the number of the first one; and whether more items follow.
local function page(items, low, high, limit, newest, gaps)
  local all = math.max(high - low + 1, 0)
  local length, more = math.min(limit, all), all > limit
  if more and tonumber(gaps or 0) > 0 then
    local found, looked = 0, 0
    length, more = 0, false
    while not more and looked < all do
      local size = math.min(math.max(limit - found + 8, looked), 1000, all - looked)
      local start = newest and high - looked - size or low - 1 + looked
      local part = redis.call('LRANGE', items, start, start + size - 1)
      for i = 1, size do
        if not is_gap(part[newest and size + 1 - i or i]) then
          more = found == limit
          if more then break end
          found, length = found + 1, looked + i
        end
      end
      looked = looked + size
    end
  end
  local first = newest and high - length + 1 or low
  local entries = {}
  if length > 0 then entries = redis.call('LRANGE', items, first - 1, first + length - 2) end
  return entries, first, more
end
