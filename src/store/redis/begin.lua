-- Begins a turn: looks at the session, the idempotency key, the conversation, its running turn and the owner's rate, in that
-- order.
-- KEYS session, turns, head, items, order, events, [idempotency key, or the tries of it], [the owner's rate]
-- ARGV see begin_call in writing.rs

local base, use, max_age, now = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
-- Whether a conversation is made where there is none: 0, 1, or h for a hidden one.
local create, again, turn, conversation = ARGV[5] ~= '0', ARGV[6] == '1', ARGV[7], ARGV[8]
local by = ARGV[10]
local session, turns, head, items, order, events = unpack(KEYS, 1, 6)
local key = ARGV[21]
local clock = clock_ms()

-- The caller was told that it failed: a turn that began now would be run by no server, and would block its conversation until
-- its lease ends.
if clock > tonumber(ARGV[15]) then return 'L' end

-- Until when the owner's keys are kept; false: for ever.
local kept = false
-- A session that follows from the idempotency key: made where the turn begins, opened by a request that joins the key's turn.
local is_made, is_open = false, true
if use == 'o' then
  is_made = redis.call('EXISTS', session) == 0
  is_open = is_made
elseif use ~= 'k' then
  local stored = redis.call('GET', session)
  if use ~= 'c' then
    if not stored then return 'X' end
  end
  if use == 'n' then
    kept = kept_until(stored)
  else
    kept = renew(session, base, stored, max_age, now, clock)
  end
end

local role, try, instead_of = ARGV[24], turn .. ' ' .. conversation, ARGV[25]
if role == 'join' then
  local known = redis.call('GET', key)
  if known then
    local used_by, where, fingerprint = string.match(known, '^%-?%d+ (%S+) (%S+) (.*)$')
    if not (again and used_by == turn) then
      if fingerprint == ARGV[22] then return 'D' .. used_by .. ' ' .. where end
      return 'K'
    end
    is_open = true
  end
elseif role == 'retry' and not (again and redis.call('ZSCORE', key, try)) then
  if instead_of == '' or not redis.call('ZSCORE', key, instead_of) then
    local joined = join_try(key, clock)
    if joined then return 'D' .. joined end
  end
end

if not is_open then return 'X' end

local found = redis.call('HMGET', head, 'created', 'version', 'tokens', 'turn', 'lease', 'fence', 'by', 'waits', 'skip', 'gaps', 'lost')
local created, version, tokens, running, skip = found[1], found[2], found[3], found[4], tonumber(found[9] or 0)
if not created and not create then return 'U' end
local is_ours = again and running == turn
if ARGV[16] ~= '' and not is_ours then
  if running or redis.call('LLEN', items) + skip ~= tonumber(ARGV[16]) then return 'M' end
end
if running and not is_ours then
  -- The end of that turn is then told to the other servers. Where memory is full it is not, and they look by themselves.
  if found[7] ~= by and not found[8] then redis.pcall('HSET', head, 'waits', 1) end
  return (tonumber(found[5]) <= clock and 'O' or 'B') .. found[6] .. ' ' .. running
end

local used = -1
if not running then
  if ARGV[18] ~= '' then
    local wait
    used, wait = take_rate(ARGV[18], tonumber(ARGV[19]), tonumber(ARGV[20]), clock)
    if not used then return 'R' .. string.format('%.0f', wait) end
  end
  if is_made then kept = renew(session, base, false, max_age, now, clock) end
  local lease = string.format('%.0f', clock + tonumber(ARGV[9]))
  redis.call('HSET', head, 'turn', turn, 'fence', 1, 'attempt', 1, 'lease', lease, 'by', by)
  redis.call('HSET', turns, turn, conversation .. ' ' .. ARGV[4], turn .. '?', ARGV[14])
  local is_first = redis.call('RPUSH', order, turn) == 1
  redis.call('RPUSH', events, ARGV[13])
  if not created then
    redis.call('HSET', head, 'created', ARGV[4], 'version', 0, 'tokens', 0, 'skip', 0)
    if ARGV[5] == 'h' then redis.call('HSET', head, 'hidden', 1) end
    if kept then redis.call('PEXPIREAT', head, kept) end
    if use ~= 'k' then enlist(base, conversation, ARGV[5] == 'h', ARGV[4], kept) end
  end
  if kept then
    redis.call('PEXPIREAT', events, kept)
    if is_first then
      redis.call('PEXPIREAT', order, kept)
      redis.call('PEXPIREAT', turns, kept)
    end
  end
  if key then
    local until_ms = now + tonumber(ARGV[23])
    if role == 'join' then
      redis.call('SET', key, string.format('%.0f', until_ms) .. ' ' .. try .. ' ' .. ARGV[22], 'PX', ARGV[23])
    else
      if instead_of ~= '' then redis.call('ZREM', key, instead_of) end
      add_try(key, try, clock, ARGV[23])
    end
    redis.call('HSET', turns, turn .. '#', ARGV[21])
  end
end

local entries, first, count, kept_tokens = {}, 1, 0, 0
if created then
  local lost = lost_tokens(items, found[10], found[11])
  if lost > 0 and not found[11] then redis.call('HSET', head, 'lost', string.format('%.0f', lost)) end
  kept_tokens = tokens - lost
  entries, first, count =
    window(items, tonumber(tokens), kept_tokens, tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[17]))
end
kept_tokens = string.format('%.0f', kept_tokens)
-- The entries stay apart: joining them would cost the server as much again as reading them.
entries[#entries + 1] = table.concat(
  { version or '0', count + skip, tokens or '0', created or ARGV[4], string.format('%.0f', used), kept_tokens, first }, ' ')
return entries
