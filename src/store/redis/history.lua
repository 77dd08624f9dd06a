-- A page of a conversation's items.
-- KEYS session, head, items, turns
-- ARGV whether the owner is a session, now, before which number (or nothing), limit

local ends = '-'
if ARGV[1] == '1' then
  local stored = redis.call('GET', KEYS[1])
  if not stored then return false end
  ends = string.match(stored, '^%S+')
  -- Written by the clock of one server; by the caller's, where the two differ.
  local by_caller = tonumber(ARGV[2]) + redis.call('PTTL', KEYS[1])
  if math.abs(by_caller - tonumber(ends)) > 60000 then ends = string.format('%.0f', by_caller) end
end
local found = redis.call('HMGET', KEYS[2], 'created', 'gaps')
if not found[1] then return false end

local stop = redis.call('LLEN', KEYS[3])
if ARGV[3] ~= '' then stop = math.max(math.min(stop, tonumber(ARGV[3]) - 1), 0) end
local entries, first, more = page(KEYS[3], 1, stop, tonumber(ARGV[4]), true, found[2])
entries[#entries + 1] = ends .. (more and ' 1 ' or ' 0 ') .. first .. pending(KEYS[2], KEYS[3], KEYS[4])
return entries
