-- Removes an item: the newest one goes with its place, another one leaves a gap.
-- KEYS session, head, items, turns
-- ARGV whether the owner is a session, id, number to look for it from (or nothing), again
-- Gives R, U for an unknown conversation, P and what the running turn was asked (or nothing) for an unknown item, C and a
-- number where to look on.

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 'U' end
local found = redis.call('HMGET', KEYS[2], 'version', 'tokens', 'gaps', 'skip', 'lost')
if not found[1] then return 'U' end
local at, entry, rest = find(KEYS[3], ARGV[2], tonumber(ARGV[3]))
if not at then
  if rest > 0 then return 'C' .. rest end
  return ARGV[4] == '1' and 'R' or 'P' .. pending(KEYS[2], KEYS[3], KEYS[4])
end

local version, gaps = string.format('%.0f', found[1] + 1), tonumber(found[3] or 0)
local before, own = string.match(entry, '^(%d+) (%d+)')
local lost = lost_tokens(KEYS[3], gaps, found[5]) + own
local skip = skipped(KEYS[2], KEYS[3], KEYS[4], found[4])
local length = redis.call('LLEN', KEYS[3])
if at < length then
  redis.call('LSET', KEYS[3], at - 1, before .. ' ' .. own .. ' gone')
  lost = string.format('%.0f', lost)
  redis.call('HSET', KEYS[2], 'version', version, 'gaps', gaps + 1, 'skip', skip, 'lost', lost)
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
skip = skip + length - redis.call('LLEN', KEYS[3])
lost = string.format('%.0f', lost - (found[2] - before))
redis.call('HSET', KEYS[2], 'version', version, 'tokens', before, 'gaps', gaps, 'skip', skip, 'lost', lost)
return 'R'
