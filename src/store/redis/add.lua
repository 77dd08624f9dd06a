-- Adds items to a conversation in which no turn runs.
-- KEYS session, head, items, turns
-- ARGV whether the owner is a session, again, items ...
-- Gives A, the number of the first one and the tokens before it; U for an unknown conversation; B and the turn that runs.

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 'U' end
local found = redis.call('HMGET', KEYS[2], 'version', 'tokens', 'turn', 'skip')
if not found[1] then return 'U' end
local count = #ARGV - 2
if ARGV[2] == '1' and count > 0 then
  -- Where the last one is there already, all are.
  local at = find(KEYS[3], string.match(ARGV[#ARGV], '^%d+ %-?%d+ %S+ (%S+)'))
  if at and at >= count then
    local first = redis.call('LINDEX', KEYS[3], at - count)
    return 'A' .. (at - count + 1) .. ' ' .. string.match(first, '^%d+')
  end
end
if found[3] then return 'B' .. found[3] end

local skip = skipped(KEYS[2], KEYS[3], KEYS[4], found[4])
local first = redis.call('LLEN', KEYS[3]) + skip + 1
local tokens, last = push(KEYS[2], KEYS[3], tonumber(found[2]), skip, 3, #ARGV)
local version = string.format('%.0f', found[1] + 1)
redis.call('HSET', KEYS[2], 'version', version, 'tokens', string.format('%.0f', tokens), 'skip', last and 0 or skip)
return 'A' .. first .. ' ' .. found[2]
