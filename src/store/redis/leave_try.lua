-- Notes that the client of a turn has left without its answer.
-- KEYS the tries of its key
-- ARGV turn and conversation

leave_try(KEYS[1], ARGV[1])
return 1
