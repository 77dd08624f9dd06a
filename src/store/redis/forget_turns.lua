-- How turns are forgotten: a part of delete_turn.lua and delete_conversation.lua.

-- Removes these turns' records and events, and, where the owner's idempotency keys are in this slot, the keys that lead to
-- them. A key that another turn has now stays.
local function forget_turns(base, turns, these, with_keys)
  local fields, marks, keys = {}, {}, {}
  for i, turn in ipairs(these) do
    for _, kind in ipairs({ '', '?', '+', '!', '#' }) do fields[#fields + 1] = turn .. kind end
    marks[i] = turn .. '#'
    keys[i] = base .. ':t:' .. turn .. ':e'
  end
  if with_keys then
    for i, key in ipairs(redis.call('HMGET', turns, unpack(marks))) do
      if key then forget_key(key, these[i]) end
    end
  end
  redis.call('UNLINK', unpack(keys))
  redis.call('HDEL', turns, unpack(fields))
end
