import { LIVE } from '../../core/session-record.js';
import { VERSION_LENGTH } from '../../core/session-store.interface.js';

/** What a script that changes something says on the way, if nobody is told: what it has changed, who ended beside. */
export const QUIET = 'local changed, over = false, {}';

/** Keys and arguments that follow a script's own where it tells: see {@link telling}. */
export const NEWS_KEYS = 3;

/**
 * Writes down and publishes. KEYS of the bucket: due, notices, told; then, from behind the script's own
 * arguments: channel, command to publish, retention. What is written down may be lost when the memory is
 * full; the change was made, and is published all the same.
 */
const SAY = `local function say(kind, text)
  local time = redis.call('TIME')
  local oldest = time[1] * 1000 - tonumber(retention)
  local id = redis.pcall('XADD', TOLD, 'MINID', '~', string.format('%.0f', oldest), '*', kind, text)
  if type(id) == 'table' then id = '0-0' else redis.call('PEXPIRE', TOLD, retention) end
  if kind == 'told' then redis.pcall(how, channel, string.match(TOLD, '(..)}:e$') .. id .. ' ' .. text) end
end
local function lineOf(handle, at, notice)
  if notice == '' then notice = redis.call('HGET', NOTICES, handle) or '' end
  return '\\n' .. handle .. ' ' .. at .. ' ' .. notice
end
local function forget(handle)
  redis.call('ZREM', DUE, handle)
  redis.call('HDEL', NOTICES, handle)
end`;

/** Beyond the end of a session, what is to be told of it waits as long for somebody who tells it: 30 days. */
const WAITS = 30 * 86_400_000;

/** When a session is due, and that this is kept until somebody has looked. */
const AWAIT = `local function await(handle, ttl)
  local time = redis.call('TIME')
  local due = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ttl)
  redis.call('ZADD', DUE, string.format('%.0f', due), handle)
  local keep = tonumber(ttl) + ${WAITS}
  if redis.call('PTTL', DUE) < keep then
    redis.call('PEXPIRE', DUE, string.format('%.0f', keep))
    redis.call('PEXPIRE', NOTICES, string.format('%.0f', keep))
  end
end`;

/**
 * The same script, which tells what it has changed in the same step. After its own `args` arguments come:
 * channel, command to publish, retention; message, kind, handle and notice of the session that it is
 * about (notice empty: as it was); handle that is awaited from now on, its ttl (empty: as before); handle
 * that is awaited no more; message about those that ended beside.
 */
export const telling = (args: number, parts: readonly string[]): string =>
  [
    `local TOLD, NOTICES, DUE = table.remove(KEYS), table.remove(KEYS), table.remove(KEYS)`,
    `local channel, how, retention = ARGV[${args + 1}], ARGV[${args + 2}], ARGV[${args + 3}]`,
    QUIET,
    'local function change()',
    ...parts,
    'end',
    'local reply = change()',
    'if not changed then return reply end',
    SAY,
    AWAIT,
    `local message, kind, subject, notice = ARGV[${args + 4}], ARGV[${args + 5}], ARGV[${args + 6}], ARGV[${args + 7}]`,
    `local awaited, ttl, dropped, beside = ARGV[${args + 8}], ARGV[${args + 9}], ARGV[${args + 10}], ARGV[${args + 11}]`,
    `if #over > 0 then
  local lines = {}
  for i, handle in ipairs(over) do
    lines[i] = lineOf(handle, '-', '')
    forget(handle)
  end
  if beside ~= '' then say('told', beside .. table.concat(lines)) end
end
if message ~= '' then say(kind, message .. lineOf(subject, '-', notice)) end
if dropped ~= '' then forget(dropped) end
if awaited ~= '' then
  redis.call('HSET', NOTICES, awaited, notice)
  -- Of one from before anything was told it is not known when it is due.
  if ttl == '' and not redis.call('ZSCORE', DUE, awaited) then ttl = redis.call('PTTL', KEYS[1]) end
  if ttl ~= '' then await(awaited, ttl) end
end
return reply`,
  ].join('\n');

/**
 * KEYS due, notices, told · ARGV channel, command, retention, message, how many, the name of `due`. Tells
 * of sessions that are over; who was used since is awaited anew. How many were over, and how many were
 * looked at.
 */
export const SWEEP_SOURCE = [
  `local DUE, NOTICES, TOLD = KEYS[1], KEYS[2], KEYS[3]
local KIND, LIVE = ${VERSION_LENGTH}, '${LIVE}'
local channel, how, retention = ARGV[1], ARGV[2], ARGV[3]
local records = string.sub(DUE, 1, -1 - #ARGV[6]) .. 's:'`,
  SAY,
  AWAIT,
  `local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local page = redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[5])
local lines, over, used, lag = {}, {}, {}, 0
for i = 1, #page, 2 do
  local handle = page[i]
  local left = redis.call('PTTL', records .. handle)
  if left == -2 then
    -- Where its slot is under way the record may not have come yet: then this is refused, and tried again.
    redis.call('EXISTS', DUE, records .. handle)
    over[#over + 1] = handle
    lag = math.max(lag, now - page[i + 1])
    lines[#lines + 1] = lineOf(handle, string.format('%.0f', page[i + 1]), '')
  elseif redis.call('GETRANGE', records .. handle, KIND, KIND) ~= LIVE then
    over[#over + 1] = handle
  else
    used[#used + 1] = {handle, math.max(left, 1)}
  end
end
for _, handle in ipairs(over) do forget(handle) end
if #lines > 0 then say('told', ARGV[4] .. table.concat(lines)) end
-- While the memory is full they stay due.
for _, one in ipairs(used) do pcall(await, one[1], one[2]) end
return {#lines, #page / 2, redis.call('ZCARD', DUE), lag}`,
].join('\n');

/**
 * KEYS due, notices · ARGV how many. How many are awaited; then handle and notice of some, each by itself: whoever may
 * tell events may read them so.
 */
export const SAMPLE_SOURCE = `local reply = {redis.call('ZCARD', KEYS[1])}
for _, handle in ipairs(redis.call('ZRANDMEMBER', KEYS[1], ARGV[1])) do
  reply[#reply + 1] = handle
  reply[#reply + 1] = redis.call('HGET', KEYS[2], handle) or ''
end
return reply`;

/**
 * KEYS due, places · ARGV how many of each are looked at. How many that stand there are awaited: of those that
 * ended by time some stand there still.
 */
export const AWAITED_IN_SOURCE = `local reply = {}
for i = 2, #KEYS do
  local some, awaited = redis.call('ZRANDMEMBER', KEYS[i], ARGV[1]), 0
  for _, handle in ipairs(some) do
    if redis.call('ZSCORE', KEYS[1], handle) then awaited = awaited + 1 end
  end
  local all = redis.call('ZCARD', KEYS[i])
  reply[#reply + 1] = #some == 0 and '0' or string.format('%.3f', awaited * all / #some)
end
return reply`;

/**
 * KEYS due, notices, told · ARGV channel, command. All that telling needs; nothing of it stays. A script that
 * was refused something in the middle would have done half.
 */
export const REHEARSE_SOURCE = `redis.call('HSET', KEYS[2], '', '')
redis.call('HGET', KEYS[2], '')
redis.call('HDEL', KEYS[2], '')
redis.call('ZADD', KEYS[1], 0, '')
redis.call('ZREM', KEYS[1], '')
redis.call('XADD', KEYS[3], 'MINID', '~', '1', '*', 'told', '')
redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)
redis.call('DEL', KEYS[3])
redis.call(ARGV[2], ARGV[1], '')
return 1`;

/** KEYS any of the bucket · ARGV channel, command, text. */
export const CALL_SOURCE = `return redis.call(ARGV[2], ARGV[1], '!' .. ARGV[3])`;

/** KEYS lease · ARGV holder, term. 1 if it is the holder's from now on. */
export const LEASE_SOURCE = `local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
-- To go on with it takes no memory.
if holder then redis.call('PEXPIRE', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1`;

/** KEYS lease · ARGV holder. */
export const RELEASE_SOURCE = `if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`;

/** KEYS progress · ARGV position, how long it is kept. Nobody goes back. */
export const ADVANCE_SOURCE = `local function isBehind(one, other)
  local ms, n = string.match(one, '(%d+)-(%d+)')
  local otherMs, otherN = string.match(other, '(%d+)-(%d+)')
  if ms ~= otherMs then return tonumber(ms) < tonumber(otherMs) end
  return tonumber(n) < tonumber(otherN)
end
local at = redis.call('GET', KEYS[1])
if not at or isBehind(at, ARGV[1]) then redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1`;

/** KEYS told · ARGV position (or nothing), how many. Position, kind and text of each. */
export const RECALL_SOURCE = `local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
local reply = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[2])) do
  reply[#reply + 1] = entry[1]
  reply[#reply + 1] = entry[2][1]
  reply[#reply + 1] = entry[2][2]
end
return reply`;
