-- The items that a turn's attempt needs; none where the session is over.
-- KEYS session, head, items
-- ARGV whether the owner is a session, budget, fixed tokens, the most tokens that a history may have (or nothing)
-- Gives them, the tokens of all items that are there, and the number of the first one given.

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return { '0 1' } end
local found = redis.call('HMGET', KEYS[2], 'tokens', 'gaps', 'lost')
if not found[1] then return { '0 1' } end
local tokens = tonumber(found[1])
local kept = tokens - lost_tokens(KEYS[3], found[2], found[3])
local entries, first = window(KEYS[3], tokens, kept, tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))
entries[#entries + 1] = string.format('%.0f %.0f', kept, first)
return entries
