-- The items that a turn's attempt needs.
-- KEYS head, items
-- ARGV budget, fixed tokens

local tokens = redis.call('HGET', KEYS[1], 'tokens')
if not tokens then return '1\n' end
local entries, first = window(KEYS[2], tonumber(tokens), tonumber(ARGV[1]), tonumber(ARGV[2]))
return first .. '\n' .. entries
