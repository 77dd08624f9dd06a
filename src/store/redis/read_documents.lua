-- A page of documents of one kind.
-- KEYS session, documents, their order
-- ARGV whether the owner is a session, kind, id of the document before the page (or nothing), whether in the order in
--      which they were put, limit
-- Gives ids and documents in turn, and whether more follow; nothing where there is no such document before the page.

local kind, after, ascending, limit = ARGV[2], ARGV[3], ARGV[4] == '1', tonumber(ARGV[5])
if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then
  if after ~= '' then return false end
  return { '0' }
end
local low, high = '[' .. kind .. ' ', '(' .. kind .. '!'
if after ~= '' then
  local known = redis.call('HGET', KEYS[2], kind .. ' ' .. after)
  if not known then return false end
  local at = '(' .. kind .. ' ' .. string.match(known, '^%d+') .. ' ' .. after
  if ascending then low = at else high = at end
end
local members
if ascending then
  members = redis.call('ZRANGEBYLEX', KEYS[3], low, high, 'LIMIT', 0, limit + 1)
else
  members = redis.call('ZREVRANGEBYLEX', KEYS[3], high, low, 'LIMIT', 0, limit + 1)
end
local count = math.min(#members, limit)
local out = {}
for start = 1, count, 500 do
  local ids, fields = {}, {}
  for i = start, math.min(start + 499, count) do
    ids[#ids + 1] = string.match(members[i], '^%S+ %d+ (%S+)$')
    fields[#fields + 1] = kind .. ' ' .. ids[#ids]
  end
  for i, document in ipairs(redis.call('HMGET', KEYS[2], unpack(fields))) do
    out[#out + 1] = ids[i]
    out[#out + 1] = document
  end
end
out[#out + 1] = #members > limit and '1' or '0'
return out
