-- How items join a conversation: a part of finish.lua, add.lua and create.lua.

-- Adds ARGV[from] to ARGV[to] behind items that have so many tokens together, leaving out so many numbers. Gives the
-- tokens of all, and the number of the last item (nothing where none was added).
local function push(head, items, tokens, skip, from, to)
  if from > to then return tokens end
  for start = 1, skip, 1000 do
    local gaps, gap = {}, string.format('%.0f 0 gone', tokens)
    for i = start, math.min(start + 999, skip) do gaps[i - start + 1] = gap end
    redis.call('RPUSH', items, unpack(gaps))
  end
  if skip > 0 then redis.call('HINCRBY', head, 'gaps', skip) end
  local count
  for start = from, to, 1000 do
    local packed = {}
    for i = start, math.min(start + 999, to) do
      packed[#packed + 1] = string.format('%.0f ', tokens) .. ARGV[i]
      tokens = tokens + tonumber(string.match(ARGV[i], '^%d+'))
    end
    count = redis.call('RPUSH', items, unpack(packed))
    if count == skip + #packed then
      -- A new list is kept as long as its conversation.
      local left = redis.call('PTTL', head)
      if left >= 0 then redis.call('PEXPIRE', items, left) end
    end
  end
  return tokens, count
end
