-- KEYS the account's rate
-- ARGV its time and one's share of it, in microseconds
-- Gives how much is used, or how long to wait as a negative number of milliseconds.

local used, wait = take_rate(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), clock_ms())
return string.format('%.0f', used or -wait)
