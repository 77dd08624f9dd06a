-- Removes an item: the newest one goes with its number, another one leaves a gap.
-- KEYS session, head, items
-- ARGV whether the owner is a session, id, number to look for it from (or nothing), again
-- Gives R, U for an unknown conversation, N for an unknown item, C and a number where to look on.

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 'U' end
local found = redis.call('HMGET', KEYS[2], 'version', 'gaps')
if not found[1] then return 'U' end
local at, entry, rest = find(KEYS[3], ARGV[2], tonumber(ARGV[3]))
if not at then
  if rest > 0 then return 'C' .. rest end
  return ARGV[4] == '1' and 'R' or 'N'
end

local version, gaps = string.format('%.0f', found[1] + 1), tonumber(found[2] or 0)
local before, own = string.match(entry, '^(%d+) (%d+)')
if at < redis.call('LLEN', KEYS[3]) then
  redis.call('LSET', KEYS[3], at - 1, before .. ' ' .. own .. ' gone')
  redis.call('HSET', KEYS[2], 'version', version, 'gaps', gaps + 1)
  return 'R'
end
redis.call('RPOP', KEYS[3])
-- Gaps that nothing stands behind any more go along.
while gaps > 0 do
  local part = redis.call('LRANGE', KEYS[3], -64, -1)
  local left = #part
  while left > 0 and is_gap(part[left]) do left = left - 1 end
  local gone = #part - left
  if gone > 0 then
    before = string.match(part[left + 1], '^%d+')
    gaps = gaps - gone
    redis.call('LTRIM', KEYS[3], 0, -gone - 1)
  end
  if left > 0 or gone == 0 then break end
end
redis.call('HSET', KEYS[2], 'version', version, 'tokens', before, 'gaps', gaps)
return 'R'
