"""The changes of a job record, each one Lua script that compares before it sets."""

from __future__ import annotations

# A pool's line is three keys: ids by their place, the place that each flow has come to (an
# owner's jobs of one priority are a flow; the flow "" is the pool's own, the place of the last job
# that was claimed), and how many jobs each owner has in it. A job joins one step after the last
# one of its flow, but not before the pool's place: start-time fair queuing (Goyal et al., SIGCOMM
# 1996). So an owner's first job comes before another's second, however many that one has; and with
# a shorter step, jobs of high priority come sooner without keeping others out for ever.

_LEAVE = """
local function leave(line, flows, owners, id, claimed)
  local owner = cjson.decode(redis.call('HGET', KEYS[1], 'owner'))
  local place = redis.call('ZSCORE', line, id)
  if not place then return end
  redis.call('ZREM', line, id)
  if redis.call('ZCARD', line) == 0 then
    redis.call('DEL', flows, owners)
    return
  end
  if redis.call('HINCRBY', owners, owner, -1) < 1 then
    redis.call('HDEL', owners, owner)
    redis.call('HDEL', flows, owner .. ' normal', owner .. ' high')
  end
  local now = tonumber(redis.call('HGET', flows, '') or 0)
  if claimed and tonumber(place) > now then redis.call('HSET', flows, '', place) end
end
"""

# Puts a delivery into the outbox, with the job as it is now, where its webhook wants to know.
_TELL = """
local function tell(published, deliveries, outbox, id, to, now)
  local events = redis.call('HGET', KEYS[1], 'webhook_events')
  if not events or not string.find(events, ',job.' .. to .. ',', 1, true) then return end
  local n = redis.call('HINCRBY', deliveries, 'count', 1)
  local seen = {}
  for _, name in ipairs({'status', 'attempt', 'started_at', 'ended_at', 'expires_at', 'error'}) do
    table.insert(seen, '"' .. name .. '":' .. (redis.call('HGET', KEYS[1], name) or 'null'))
  end
  redis.call('HSET', deliveries, n .. ':event', 'job.' .. to, n .. ':status', 'pending',
    n .. ':at', string.format('%.6f', now), n .. ':seen', '{' .. table.concat(seen, ',') .. '}',
    n .. ':files', redis.call('LLEN', published))
  redis.call('ZADD', outbox, now, 'msg_' .. string.sub(id, 5) .. '_' .. n)
end
"""

# KEYS: job, line, flows, owners, running, published, deadlines, deliveries, outbox, tally, dead.
# ARGV: id, to, allowed from (",a,b,"), fence or "", lease seconds, "1" to move only a job whose
# lease is over, unix time at which to forget it or "", "1" to keep it among the dead, then pairs.
# Returns {the status found, the attempt it now has}; nothing changed unless that status is
# among the allowed ones and the fence fits. A job that goes back into its line is the next. What
# a webhook is to be told goes into the outbox in this same step, and an end into the tally. The
# dead are scored by when their records go, and leave with the next one that comes after that.
MOVE = (
    _LEAVE
    + _TELL
    + """
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return {'', 0} end
status = string.sub(status, 2, -2)
local attempt = tonumber(redis.call('HGET', KEYS[1], 'attempt'))
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local refused = {'refused:' .. status, attempt}
if not string.find(ARGV[3], ',' .. status .. ',', 1, true) then return refused end
if ARGV[4] ~= '' and tonumber(ARGV[4]) ~= attempt then return refused end
if ARGV[6] == '1' then
  local lease = redis.call('ZSCORE', KEYS[5], ARGV[1])
  if lease and tonumber(lease) > now then return refused end
end
if status == 'queued' then leave(KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2] == 'running') end
redis.call('ZREM', KEYS[5], ARGV[1])
if ARGV[2] == 'running' then
  attempt = redis.call('HINCRBY', KEYS[1], 'attempt', 1)
  redis.call('ZADD', KEYS[5], now + tonumber(ARGV[5]), ARGV[1])
elseif ARGV[2] == 'queued' then
  local owner = cjson.decode(redis.call('HGET', KEYS[1], 'owner'))
  redis.call('ZADD', KEYS[2], tonumber(redis.call('HGET', KEYS[3], '') or 0) - 1, ARGV[1])
  redis.call('HINCRBY', KEYS[4], owner, 1)
else
  redis.call('ZREM', KEYS[7], ARGV[1])
  local technique = cjson.decode(redis.call('HGET', KEYS[1], 'technique'))
  redis.call('HINCRBY', KEYS[10], 'ended ' .. technique .. ' ' .. ARGV[2], 1)
end
if ARGV[8] == '1' then
  redis.call('ZREMRANGEBYSCORE', KEYS[11], '-inf', now)
  redis.call('ZADD', KEYS[11], ARGV[7], ARGV[1])
end
redis.call('HSET', KEYS[1], 'status', '"' .. ARGV[2] .. '"')
redis.call('HINCRBY', KEYS[1], 'revision', 1)
if #ARGV > 8 then redis.call('HSET', KEYS[1], unpack(ARGV, 9)) end
tell(KEYS[6], KEYS[8], KEYS[9], ARGV[1], ARGV[2], now)
if ARGV[7] ~= '' then
  redis.call('EXPIREAT', KEYS[1], ARGV[7])
  redis.call('EXPIREAT', KEYS[6], ARGV[7])
  redis.call('EXPIREAT', KEYS[8], ARGV[7])
end
return {status, attempt}
"""
)

# KEYS: job, running.  ARGV: id, fence, lease seconds, then pairs.
# Extends the lease of a running attempt. Returns 0 if it has been superseded, 2 if a cancel
# was asked for, else 1.
BEAT = """
if redis.call('HGET', KEYS[1], 'status') ~= '"running"' then return 0 end
if redis.call('HGET', KEYS[1], 'attempt') ~= ARGV[2] then return 0 end
local clock = redis.call('TIME')
redis.call('ZADD', KEYS[2], 'XX', tonumber(clock[1]) + tonumber(clock[2]) / 1000000
  + tonumber(ARGV[3]), ARGV[1])
if #ARGV > 3 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 4))
  redis.call('HINCRBY', KEYS[1], 'revision', 1)
end
if redis.call('HGET', KEYS[1], 'cancel_requested') == 'true' then return 2 end
return 1
"""

# KEYS: job, published.  ARGV: fence, artifact.
# Adds a file to those of a running attempt, once: who hears no answer asks again. Returns 0 if it
# has been superseded.
PUBLISH = """
if redis.call('HGET', KEYS[1], 'status') ~= '"running"' then return 0 end
if redis.call('HGET', KEYS[1], 'attempt') ~= ARGV[1] then return 0 end
if redis.call('LINDEX', KEYS[2], -1) == ARGV[2] then return 1 end
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'revision', 1)
return 1
"""

# KEYS: job.  Marks a running job as to be canceled; does nothing to any other.
ASK_CANCEL = """
if redis.call('HGET', KEYS[1], 'status') ~= '"running"' then return 0 end
redis.call('HSET', KEYS[1], 'cancel_requested', 'true')
redis.call('HINCRBY', KEYS[1], 'revision', 1)
return 1
"""

# KEYS: job, line, flows, owners, the owner's jobs, what is kept for an idempotency key, deadlines.
# ARGV: id, entry among the owner's jobs, fingerprint or "" where there is no such key, seconds
# to keep it, owner, priority, step in the line, most that may wait, most of the owner, deadline
# in unix seconds or "", then pairs.
# Records a new job, and in the same step that the idempotency key is used, unless too many wait.
# Returns {"", ""}, or {"kept", what was kept for the key before}, {"full", how many wait} or
# {"owner full", how many of the owner's}, in which cases nothing is recorded. A call whose answer
# was lost may be made again: by then the job may have begun. The two oldest of the owner's jobs
# are let go from their list where they have expired, so that it doesn't grow for ever.
CREATE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return {'', ''} end
if ARGV[3] ~= '' then
  local kept = redis.call('GET', KEYS[6])
  if kept then return {'kept', kept} end
end
local waiting = redis.call('ZCARD', KEYS[2])
if waiting >= tonumber(ARGV[8]) then return {'full', waiting} end
local own = tonumber(redis.call('HGET', KEYS[4], ARGV[5]) or 0)
if own >= tonumber(ARGV[9]) then return {'owner full', own} end
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[6], ARGV[1] .. ' ' .. ARGV[3], 'EX', ARGV[4])
end
local flow = ARGV[5] .. ' ' .. ARGV[6]
local pools = tonumber(redis.call('HGET', KEYS[3], '') or 0)
local flows = tonumber(redis.call('HGET', KEYS[3], flow) or 0)
local place = string.format('%.17g', math.max(pools, flows) + tonumber(ARGV[7]))
redis.call('HSET', KEYS[3], flow, place)
redis.call('ZADD', KEYS[2], place, ARGV[1])
redis.call('HINCRBY', KEYS[4], ARGV[5], 1)
if ARGV[10] ~= '' then redis.call('ZADD', KEYS[7], ARGV[10], ARGV[1]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 11))
local prefix = string.sub(KEYS[1], 1, -#ARGV[1] - 1)
for _, entry in ipairs(redis.call('ZRANGE', KEYS[5], 0, 1)) do
  local id = string.sub(entry, string.find(entry, ':', 1, true) + 1)
  if redis.call('EXISTS', prefix .. id) == 0 then redis.call('ZREM', KEYS[5], entry) end
end
redis.call('ZADD', KEYS[5], 0, ARGV[2])
return {'', ''}
"""

# KEYS: line, flows, owners.  ARGV: prefix of the keys of jobs.
# The id of who is next, or "". Whatever else is in the line, such as a job whose record was
# lost, is taken out of it, so that it keeps nobody waiting; once the line is empty it counts
# against no owner either.
NEXT = """
while true do
  local id = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
  if not id then
    redis.call('DEL', KEYS[2], KEYS[3])
    return ''
  end
  if redis.call('HGET', ARGV[1] .. id, 'status') == '"queued"' then return id end
  redis.call('ZREM', KEYS[1], id)
end
"""

# KEYS: job, published, the owner's jobs, deliveries, outbox.  ARGV: entry among the owner's jobs,
# final statuses (",a,b,"), how ids of its deliveries begin.
# Removes a final job, and what its webhook has not been told yet. Returns the status found, "" if
# there is no such job.
REMOVE = """
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return '' end
status = string.sub(status, 2, -2)
if string.find(ARGV[2], ',' .. status .. ',', 1, true) then
  for n = 1, tonumber(redis.call('HGET', KEYS[4], 'count') or 0) do
    redis.call('ZREM', KEYS[5], ARGV[3] .. n)
  end
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[4])
  redis.call('ZREM', KEYS[3], ARGV[1])
end
return status
"""

# KEYS: running.  ARGV: prefix of the keys of jobs, pool.
# How many jobs of the pool run.
RUNNING_IN = """
local count = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if redis.call('HGET', ARGV[1] .. id, 'pool') == cjson.encode(ARGV[2]) then count = count + 1 end
end
return count
"""
