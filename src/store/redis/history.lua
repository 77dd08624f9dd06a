-- A page of a conversation's items.
-- KEYS session, head, items
-- ARGV whether the owner is a session, now, before which number (or nothing), limit

local ends = '-'
if ARGV[1] == '1' then
  local stored = redis.call('GET', KEYS[1])
  if not stored then return false end
  ends = string.match(stored, '^%S+')
  if tonumber(ends) <= tonumber(ARGV[2]) then return false end
end
if redis.call('EXISTS', KEYS[2]) == 0 then return false end

local stop = redis.call('LLEN', KEYS[3])
if ARGV[3] ~= '' then stop = math.max(math.min(stop, tonumber(ARGV[3]) - 1), 0) end
local start = math.max(stop - tonumber(ARGV[4]), 0)
local page = {}
if start < stop then page = redis.call('LRANGE', KEYS[3], start, stop - 1) end
local more = start > 0 and '1' or '0'
page[#page + 1] = ends .. ' ' .. more .. ' ' .. (start + 1)
return page
