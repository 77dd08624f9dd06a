-- The tries of clients that send again by themselves: a part of begin.lua and leave_try.lua.
--
-- They are a sorted set of '<turn> <conversation>', the one that a retry joins first. A score is
-- (whether its client is there ? 450 : 0) * P + how many retries joined it * P + (P - until when it counts), with P = 10^13.

local P = 1e13
local IS_THERE = 450 * P

local function add_to_score(key, try, more)
  redis.call('ZINCRBY', key, string.format('%.0f', more), try)
end

-- The try that a retry joins; nil where there is none. Times are Redis's own.
local function join_try(key, now)
  while true do
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if not first[1] then return nil end
    local score = tonumber(first[2])
    if P - score % P > now then
      -- Beyond 448 they all count as joined equally often.
      local joins = score % IS_THERE < 448 * P and P or 0
      add_to_score(key, first[1], joins + (score < IS_THERE and IS_THERE or 0))
      return first[1]
    end
    redis.call('ZREM', key, first[1])
  end
end

local function add_try(key, try, now, keep_ms)
  -- Of a request that is asked all the time, the tries that no longer count and that no retry joined.
  redis.call('ZREMRANGEBYSCORE', key, string.format('%.0f', IS_THERE + P - now), string.format('%.0f', IS_THERE + P))
  -- Of two in one millisecond, the second is the newer.
  local until_ms = now + tonumber(keep_ms)
  local newest = redis.call('ZRANGEBYSCORE', key, string.format('%.0f', IS_THERE), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if newest[2] then until_ms = math.max(until_ms, P - tonumber(newest[2]) % P + 1) end
  redis.call('ZADD', key, string.format('%.0f', IS_THERE + P - until_ms), try)
  redis.call('PEXPIRE', key, keep_ms)
end

local function leave_try(key, try)
  local score = redis.call('ZSCORE', key, try)
  if score and tonumber(score) >= IS_THERE then add_to_score(key, try, -IS_THERE) end
end
