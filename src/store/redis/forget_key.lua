-- Removes an idempotency key, unless another turn has it now.
-- KEYS idempotency key
-- ARGV turn

local known = redis.call('GET', KEYS[1])
if known and string.match(known, '^%-?%d+ (%S+)') == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
