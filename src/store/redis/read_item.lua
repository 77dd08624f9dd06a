-- One item.
-- KEYS session, head, items, turns
-- ARGV whether the owner is a session, id, number to look for it from (or nothing)
-- Gives the item and its number; C and a number where to look on; P and what the running turn was asked (or nothing) where
-- it is not there; nothing where the conversation is unknown.

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return false end
if redis.call('EXISTS', KEYS[2]) == 0 then return false end
local at, entry, rest = find(KEYS[3], ARGV[2], tonumber(ARGV[3]))
if at then return { entry, tostring(at) } end
return rest > 0 and 'C' .. rest or 'P' .. pending(KEYS[2], KEYS[3], KEYS[4])
