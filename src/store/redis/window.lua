-- What a turn needs of a conversation's items: a part of begin.lua and read_window.lua.
-- The list is walked back from its newest end, so that a long history costs no more than a short one.

local function tokens_before(entry)
  return tonumber(string.match(entry, '^%d+', 9))
end

-- Gives the entries in one string, the number of the first one, and how many items there are.
local function window(items, history_tokens, budget, fixed)
  -- domain::window::Budget::cut; fmod, because it is exact where a division would round.
  local over = history_tokens + fixed - budget
  if over <= 0 then
    local all = redis.call('LRANGE', items, 0, -1)
    return table.concat(all), 1, #all
  end
  local step = math.max(math.floor(budget / 4), 1)
  local rest = math.fmod(over, step)
  local cut = rest == 0 and over or over - rest + step

  local count = redis.call('LLEN', items)
  local out, first, last, chunk = '', 1, count - 1, 32
  while last >= 0 do
    local start = math.max(last - chunk + 1, 0)
    local part = redis.call('LRANGE', items, start, last)
    if tokens_before(part[1]) >= cut then
      out = table.concat(part) .. out
    else
      local low, high = 2, #part + 1
      while low < high do
        local middle = math.floor((low + high) / 2)
        if tokens_before(part[middle]) >= cut then high = middle else low = middle + 1 end
      end
      out = table.concat(part, '', low) .. out
      first = start + low
      break
    end
    last, chunk = start - 1, chunk * 2
  end
  return out, first, count
end
