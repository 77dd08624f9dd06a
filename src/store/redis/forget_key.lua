-- Removes an idempotency key, unless another turn has it now; of the tries of a key, the turn.
-- KEYS the key
-- ARGV turn

forget_key(KEYS[1], ARGV[1])
return 1
