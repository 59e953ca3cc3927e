"""The changes of the outbox, each one Lua script that compares before it sets."""

from __future__ import annotations

# KEYS: outbox.  ARGV: lease seconds.
# Takes the delivery that has been due the longest. Returns {its id, the lease's token}, or {}.
LEASE = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
if not due then return {} end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), due)
return {due, redis.call('ZSCORE', KEYS[1], due)}
"""

# KEYS: deliveries, outbox.  ARGV: delivery, its number, token, the try, status, seconds until the
# next one where that is "pending".
# Notes a try; and, while the lease is still this sender's, what became of the delivery.
SETTLE = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 0
end
local tries = redis.call('HGET', KEYS[1], ARGV[2] .. ':tries') or ''
redis.call('HSET', KEYS[1], ARGV[2] .. ':tries', tries .. ARGV[4] .. '\\n')
if redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[2] .. ':status', ARGV[5])
redis.call('HINCRBY', KEYS[1], ARGV[2] .. ':tried', 1)
if ARGV[5] == 'pending' then
  local clock = redis.call('TIME')
  local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[6]), ARGV[1])
else
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return 1
"""

# KEYS: outbox.  ARGV: delivery, token, seconds.
# Puts off a delivery that was not sent, while the lease is still this sender's.
PUT_OFF = """
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
return 1
"""

# KEYS: deliveries, outbox.  ARGV: delivery, its number.
# Has a delivery sent again, now and with all its tries. Returns 0 if there is none.
AGAIN = """
if redis.call('HEXISTS', KEYS[1], ARGV[2] .. ':event') == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[2] .. ':status', 'pending', ARGV[2] .. ':tried', 0)
local clock = redis.call('TIME')
redis.call('ZADD', KEYS[2], tonumber(clock[1]) + tonumber(clock[2]) / 1000000, ARGV[1])
return 1
"""
