-- A turn as it stands: a part of read_turn.lua and read_turns.lua.

-- Gives the turn's id, place and age, request, end, answer, and while it runs: fence, attempt and last event.
local function state(base, turns, turn)
  local found = redis.call('HMGET', turns, turn, turn .. '?', turn .. '+', turn .. '!')
  if not found[1] then return false end
  local running = ''
  if not found[3] then
    local head = redis.call('HMGET', base .. ':c:' .. string.match(found[1], '^%S+'), 'turn', 'fence', 'attempt')
    if head[1] == turn then
      running = head[2] .. ' ' .. head[3] .. ' ' .. redis.call('LLEN', base .. ':t:' .. turn .. ':e')
    end
  end
  return { turn, found[1], found[2], found[3] or '', found[4] or '', running }
end
