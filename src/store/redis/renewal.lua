-- How a session lives on, and its keys with it: a part of begin.lua, create.lua, put_document.lua and renew.lua.
-- The session's own key expires on time: a session lives for as long as Redis keeps it, whatever the servers' clocks say. When
-- it ends by the clock of the server that wrote it stands in it, to be shown. The others are kept a little longer, so that they need to be touched only when
-- what they have left has fallen behind, or is far too much: a request renews one key, and all of them once in a while.

local function clock_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function keep_all(base, at)
  for _, key in ipairs({ ':list', ':hidden', ':turns', ':docs', ':docs:o' }) do
    redis.call('PEXPIREAT', base .. key, at)
  end
  local shown, hidden = redis.call('ZRANGE', base .. ':list', 0, -1), redis.call('SMEMBERS', base .. ':hidden')
  for _, conversations in ipairs({ shown, hidden }) do
    for _, conversation in ipairs(conversations) do
      local head = base .. ':c:' .. conversation
      local running = redis.call('HGET', head, 'turn')
      redis.call('PEXPIREAT', head, at)
      redis.call('PEXPIREAT', head .. ':i', at)
      redis.call('PEXPIREAT', head .. ':t', at)
      if running then redis.call('PEXPIREAT', base .. ':t:' .. running .. ':e', at) end
    end
  end
end

-- Puts a conversation among the session's.
local function enlist(base, conversation, hidden, created, kept)
  local key = base .. (hidden and ':hidden' or ':list')
  if hidden then
    redis.call('SADD', key, conversation)
  else
    redis.call('ZADD', key, created, conversation)
  end
  if kept then redis.call('PEXPIREAT', key, kept) end
end

-- Until when the owner's other keys are kept.
local function kept_until(stored)
  return string.match(stored, '^%-?%d+ (%d+)$')
end

-- Writes the session; gives until when (as Redis takes it) the owner's other keys are kept.
local function renew(session, base, stored, max_age, now, clock)
  local needed, kept = clock + max_age, '0'
  if stored then kept = kept_until(stored) end
  local slack = math.max(math.floor(max_age / 20), 50)
  local is_off = tonumber(kept) < needed or tonumber(kept) > needed + slack
  if is_off then kept = string.format('%.0f', needed + slack) end
  redis.call('SET', session, string.format('%.0f ', now + max_age) .. kept, 'PX', string.format('%.0f', max_age))
  if is_off and stored then keep_all(base, kept) end
  return kept
end
