-- A page of a conversation's items, from the oldest or the newest on, or from behind one of them.
-- KEYS session, head, items, turns
-- ARGV whether the owner is a session, id of the item before the page (or nothing), number to look for that from (or
--      nothing), whether the oldest come first, limit
-- Gives the items, oldest first, and a line: whether more follow, number of the first, what the running turn was asked. Or U
-- for an unknown conversation, P and what the running turn was asked (or nothing) where the item before the page is not
-- there, C and a number where to look on for it.

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 'U' end
local found = redis.call('HMGET', KEYS[2], 'created', 'gaps')
if not found[1] then return 'U' end

local newest = ARGV[4] == '0'
local low, high = 1, redis.call('LLEN', KEYS[3])
if ARGV[2] ~= '' then
  local at, _, rest = find(KEYS[3], ARGV[2], tonumber(ARGV[3]))
  if not at then return rest > 0 and 'C' .. rest or 'P' .. pending(KEYS[2], KEYS[3], KEYS[4]) end
  if newest then high = at - 1 else low = at + 1 end
end
local entries, first, more = page(KEYS[3], low, high, tonumber(ARGV[5]), newest, found[2])
entries[#entries + 1] = (more and '1 ' or '0 ') .. first .. pending(KEYS[2], KEYS[3], KEYS[4])
return entries
