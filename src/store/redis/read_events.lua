-- A turn's events after a number, and how the turn stands.
-- KEYS session, turns, events
-- ARGV base, whether the owner is a session, turn, after, limit, this server

if ARGV[2] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 'U' end
local found = redis.call('HMGET', KEYS[2], ARGV[3], ARGV[3] .. '+')
if not found[1] then return 'U' end

local after, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
local page = {}
if limit > 0 then page = redis.call('LRANGE', KEYS[3], after, after + limit - 1) end
if found[2] then
  if #page == 0 and redis.call('EXISTS', KEYS[3]) == 0 then return 'X' end
  return 'E' .. string.match(found[2], '^%d+ %d+ %d+ (%S+)') .. '\n' .. table.concat(page, '\n')
end

-- While it is read on another server, each write is told to it. Where memory is full it is not, and readers look
-- by themselves.
local head = ARGV[1] .. ':c:' .. string.match(found[1], '^%S+')
local state = redis.call('HMGET', head, 'by', 'watch')
if state[1] and state[1] ~= ARGV[6] then
  local time = redis.call('TIME')
  local clock = time[1] * 1000 + math.floor(time[2] / 1000)
  if not state[2] or tonumber(state[2]) < clock + 10000 then
    redis.pcall('HSET', head, 'watch', string.format('%.0f', clock + 20000))
  end
end
return 'Erunning\n' .. table.concat(page, '\n')
