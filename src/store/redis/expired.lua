-- Where to look for turns whose lease has ended.
-- KEYS leases
-- ARGV limit

local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', clock), 'LIMIT', 0, ARGV[1])
