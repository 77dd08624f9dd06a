-- Takes one of a rate by the generic cell rate algorithm, as in domain/rate.rs. Gives how much of its time is used then, in
-- microseconds; or false, and for how many milliseconds to wait.
local function take_rate(key, per, share, clock)
  local now = clock * 1000
  local full_at = tonumber(redis.call('GET', key) or now)
  local used = math.min(math.max(full_at, now), now + per) + share - now
  if used > per then return false, math.ceil((used - per) / 1000) end
  redis.call('SET', key, string.format('%.0f', now + used), 'PX', string.format('%.0f', math.ceil(used / 1000)))
  return used
end

