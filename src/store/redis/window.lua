-- What a turn needs of a conversation's items: a part of begin.lua and read_window.lua.
-- The list is walked back from its newest end, so that a long history costs no more than a short one.

local function tokens_before(entry)
  return tonumber(string.match(entry, '^%d+'))
end

-- Gives the entries, the number of the first one, and how many items there are. None where those that are there have more
-- than `most` tokens (nil: any number).
local function window(items, history_tokens, kept_tokens, budget, fixed, most)
  if most and kept_tokens > most then
    local count = redis.call('LLEN', items)
    return {}, count + 1, count
  end
  -- domain::window::Budget::cut; fmod, because it is exact where a division would round.
  local over = history_tokens + fixed - budget
  if over <= 0 then
    local all = redis.call('LRANGE', items, 0, -1)
    return all, 1, #all
  end
  local step = math.max(math.floor(budget / 4), 1)
  local rest = math.fmod(over, step)
  local cut = rest == 0 and over or over - rest + step

  local count = redis.call('LLEN', items)
  if cut > history_tokens then return {}, count + 1, count end
  -- Newest first, until the cut is found: at first as many as it takes where all are of one size.
  local chunk = math.ceil((history_tokens - cut) * count / math.max(history_tokens, 1)) + 2
  local parts, low, first, last = {}, 1, 1, count - 1
  while last >= 0 do
    local start = math.max(last - chunk + 1, 0)
    local part = redis.call('LRANGE', items, start, last)
    parts[#parts + 1] = part
    if tokens_before(part[1]) < cut then
      local high = #part + 1
      low = 2
      while low < high do
        local middle = math.floor((low + high) / 2)
        if tokens_before(part[middle]) >= cut then high = middle else low = middle + 1 end
      end
      first = start + low
      break
    end
    last, chunk = start - 1, chunk * 2
  end
  if #parts == 1 and low == 1 then return parts[1], first, count end
  local entries = {}
  for i = #parts, 1, -1 do
    for at = low, #parts[i] do entries[#entries + 1] = parts[i][at] end
    low = 1
  end
  return entries, first, count
end
