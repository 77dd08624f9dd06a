-- The items that a turn's attempt needs; none where the session is over.
-- KEYS session, head, items
-- ARGV whether the owner is a session, budget, fixed tokens

if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return { '1' } end
local tokens = redis.call('HGET', KEYS[2], 'tokens')
if not tokens then return { '1' } end
local entries, first = window(KEYS[3], tonumber(tokens), tonumber(ARGV[2]), tonumber(ARGV[3]))
entries[#entries + 1] = tostring(first)
return entries
