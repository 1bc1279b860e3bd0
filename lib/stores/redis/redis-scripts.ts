import { LIVE } from '../../core/session-record.js';
import { VERSION_LENGTH } from '../../core/session-store.interface.js';
import { QUIET, telling } from './redis-news-scripts.js';
import { script, type RedisScript } from './redis-script.js';

/** A script that changes something, and can tell so; of so many arguments of its own. */
function change(args: number, ...parts: readonly string[]): RedisScript {
  return { ...script(QUIET, ...parts), telling: script(telling(args, parts)) };
}

/**
 * A script that does nothing if it comes too late: who sent it has been told that it failed, and may have
 * gone on from there. Takes one argument more than it says, the last: until when, or nothing.
 */
function timed(args: number, ...parts: readonly string[]): RedisScript {
  const told = script(IN_TIME, telling(args, parts));
  return { ...script(IN_TIME, QUIET, ...parts), timed: true, telling: { ...told, timed: true } };
}

const IN_TIME = `if ARGV[#ARGV] ~= '' then
  local now = redis.call('TIME')
  if now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[#ARGV]) then
    return redis.error_reply('LATE nobody waits for this any more')
  end
end`;

const LAST = VERSION_LENGTH - 1;

/** Puts a handle into places, which stay as long as it can live; takes it out; tells whether one is being emptied. */
const STAND = `local function stand(from, to, since, life, handle)
  for i = from, to do
    redis.call('ZADD', KEYS[i], since, handle)
    if redis.call('PTTL', KEYS[i]) < tonumber(life) then redis.call('PEXPIRE', KEYS[i], life) end
  end
end
local function leave(from, to, handle)
  for i = from, to do redis.call('ZREM', KEYS[i], handle) end
end
local function isEnding(from, to, handle)
  for i = from, to do
    if redis.call('ZSCORE', KEYS[i] .. ':ending', handle) then return true end
  end
  return false
end`;

/** KEYS record, places · ARGV value, ttl. 1 if it is free, 2 if this value is there already, 0 if it is taken. */
const TAKE = `local function take()
  local version = redis.call('GETRANGE', KEYS[1], 0, ${LAST})
  if version == '' then return 1 end
  if version == string.sub(ARGV[1], 1, ${VERSION_LENGTH}) then return 2 end
  return 0
end`;

/**
 * KEYS record, places · ARGV value, ttl, handle, since, life. 1 if stored, 0 if the key is taken. A
 * create that is sent twice, because its reply was lost, finds its own value. On the way it looks at two
 * of those that stand there: so places do not fill up with sessions that ended by time.
 */
export const CREATE = timed(
  5,
  STAND,
  TAKE,
  `local free = take()
if free ~= 1 then return free == 2 and 1 or 0 end
local records = string.sub(KEYS[1], 1, -1 - #ARGV[3])
for i = 2, #KEYS do
  for _, other in ipairs(redis.call('ZRANDMEMBER', KEYS[i], 2)) do
    if redis.call('EXISTS', records .. other) == 0 then redis.call('ZREM', KEYS[i], other) end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
stand(2, #KEYS, ARGV[4], ARGV[5], ARGV[3])
changed = true
return 1`,
);

/**
 * KEYS record, places · ARGV value, ttl, handle, since, life, index of the limited place in KEYS, max,
 * policy, idle timeout, lasting idle timeout. 0 if the key is taken, 2 if there is no room; else 1 and
 * the handles that gave way. Nothing is written before everything is decided, and the new session
 * first: a server whose memory is full refuses that, and then nobody has given way.
 */
export const ADMIT = timed(
  10,
  STAND,
  TAKE,
  `local free = take()
if free ~= 1 then return {free == 2 and 1 or 0} end
local records = string.sub(KEYS[1], 1, -1 - #ARGV[3])
local limited, max = KEYS[tonumber(ARGV[6])], tonumber(ARGV[7])
local live, dead, reply = {}, {}, {1}
if redis.call('ZCOUNT', limited, 0, '+inf') >= max then
  for _, handle in ipairs(redis.call('ZRANGEBYSCORE', limited, 0, '+inf')) do
    local left = redis.call('PTTL', records .. handle)
    local idle = string.sub(handle, 1, 1) > 'f' and ARGV[10] or ARGV[9]
    if left == -2 then
      dead[#dead + 1] = handle
    else
      live[#live + 1] = {handle = handle, order = #live, used = left - tonumber(idle)}
    end
  end
  local excess = #live - max + 1
  if excess > 0 and ARGV[8] == 'reject' then return {2} end
  if ARGV[8] == 'retire-least-recently-used' then
    table.sort(live, function(a, b)
      if a.used == b.used then return a.order < b.order end
      return a.used < b.used
    end)
  end
  for i = 1, excess do
    dead[#dead + 1] = live[i].handle
    over[#over + 1] = live[i].handle
    reply[#reply + 1] = live[i].handle
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
for i = 2, #reply do redis.call('DEL', records .. reply[i]) end
for _, handle in ipairs(dead) do leave(2, #KEYS, handle) end
stand(2, #KEYS, ARGV[4], ARGV[5], ARGV[3])
changed = true
return reply`,
);

/** Returns unless the record has the version that is expected. */
const EXPECTED = `local version = redis.call('GETRANGE', KEYS[1], 0, ${LAST})
if version ~= ARGV[1] then
  if version == '' then return 0 end
  if version == string.sub(ARGV[2], 1, ${VERSION_LENGTH}) then return 1 end
  return redis.call('GET', KEYS[1])
end`;

const WRITE = `if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
changed = true`;

/**
 * KEYS record · ARGV expected version, value, ttl (empty: keep). 1 if stored, 0 if there is no
 * record, else the record that is there. A save that is sent twice finds its own version.
 */
export const SAVE = timed(3, EXPECTED, WRITE, 'return 1');

/**
 * As SAVE · KEYS record, places that it leaves, places where it stands · ARGV …, handle, since, life, how
 * many it leaves. A session that is just being ended with a place is gone.
 */
export const SAVE_AND_MOVE = timed(
  7,
  STAND,
  EXPECTED,
  `if isEnding(2, #KEYS, ARGV[4]) then return 0 end`,
  WRITE,
  `local left = 1 + tonumber(ARGV[7])
leave(2, left, ARGV[4])
stand(left + 1, #KEYS, ARGV[5], ARGV[6], ARGV[4])
return 1`,
);

/**
 * KEYS record, next record, places that the old handle leaves, places of the next · ARGV expected
 * version, value, ttl, next value, next ttl, handle, next handle, since, life, how many it leaves.
 * As SAVE, and 2 if the next key is taken. A session that stands in a place which is just being
 * emptied is gone: it must not go on elsewhere.
 */
export const REPLACE = timed(
  10,
  STAND,
  EXPECTED,
  `if redis.call('EXISTS', KEYS[2]) == 1 then return 2 end
local left = 2 + tonumber(ARGV[10])
if isEnding(3, left, ARGV[6]) then return 0 end
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
stand(left + 1, #KEYS, ARGV[8], ARGV[9], ARGV[7])
leave(3, left, ARGV[6])
changed = true
return 1`,
);

/** KEYS record, places · ARGV handle, since, life, version. A session that is as it was stands where it belongs. */
export const SETTLE = timed(
  4,
  STAND,
  `if redis.call('GETRANGE', KEYS[1], 0, ${LAST}) ~= ARGV[4] then return 0 end
if isEnding(2, #KEYS, ARGV[1]) then return 0 end
stand(2, #KEYS, ARGV[2], ARGV[3], ARGV[1])
return 1`,
);

/** Only a session that lived has ended; what a renewed id left behind was none. */
const TAKE_AWAY = `local value = redis.call('GETDEL', KEYS[1])
if value then changed = string.sub(value, ${VERSION_LENGTH + 1}, ${VERSION_LENGTH + 1}) == '${LIVE}' end`;

/** KEYS record, places · ARGV handle. The record, which is there no more, or nothing. */
export const DELETE = change(
  1,
  TAKE_AWAY,
  `for i = 2, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
return value`,
);

/**
 * As DELETE, and writes something in any case: replicas can only confirm a write, and whoever ends a session
 * a second time asks whether it is ended for good.
 */
export const DELETE_FOR_GOOD = change(
  1,
  TAKE_AWAY,
  `for i = 2, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
if not value then redis.pcall('SET', KEYS[1] .. ':ended', '', 'PX', 1) end
return value`,
);

/** KEYS record. The record and the milliseconds that it still has, or nothing. */
export const LOAD_REMAINING = script(
  `local value = redis.call('GET', KEYS[1])
if not value then return {} end
return {value, redis.call('PTTL', KEYS[1])}`,
);

/**
 * KEYS record · ARGV ttl. What `GETEX` would do; but that is a change, and only what was read last is told of
 * when it changes.
 */
export const LOAD_AND_TOUCH = script(
  `if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return false end
return redis.call('GET', KEYS[1])`,
);

/** KEYS record · ARGV ttl. 1 if it is there. */
export const TOUCH = script(`return redis.call('PEXPIRE', KEYS[1], ARGV[1])`);

/** Where the records of a place's bucket are: beside it. */
const RECORDS = `local records = string.sub(KEYS[1], 1, -1 - #ARGV[1]) .. 's:'`;

/**
 * KEYS place · ARGV the place's name, how many, handle and since of the session listed before (or
 * nothing). Of each session, newest first: handle, since, head of the record, milliseconds left.
 */
export const LIST = script(
  RECORDS,
  `local from, reply, dead = 0, {}, {}
if ARGV[3] ~= '' then
  local rank = redis.call('ZREVRANK', KEYS[1], ARGV[3])
  from = rank and rank + 1 or redis.call('ZCOUNT', KEYS[1], '(' .. ARGV[4], '+inf')
end
local wanted = tonumber(ARGV[2]) * 4
while #reply < wanted do
  local page = redis.call('ZREVRANGE', KEYS[1], from, from + (wanted - #reply) / 4 - 1, 'WITHSCORES')
  if #page == 0 then break end
  from = from + #page / 2
  for i = 1, #page, 2 do
    local key = records .. page[i]
    local head = redis.call('GETRANGE', key, 0, 511)
    if head == '' then
      dead[#dead + 1] = page[i]
    else
      local ends = string.find(head, '\\n', 1, true)
      if not ends and #head == 512 then
        head = redis.call('GET', key)
        ends = string.find(head, '\\n', 1, true)
      end
      reply[#reply + 1] = page[i]
      reply[#reply + 1] = page[i + 1]
      reply[#reply + 1] = ends and string.sub(head, 1, ends - 1) or head
      reply[#reply + 1] = redis.call('PTTL', key)
    end
  end
end
for _, handle in ipairs(dead) do redis.call('ZREM', KEYS[1], handle) end
return reply`,
);

/** KEYS place · ARGV the place's name, rank to begin at, how many. How many live, and how many entries dropped out. */
export const COUNT_IN = script(
  RECORDS,
  `local live, dead = 0, {}
local last = tonumber(ARGV[2]) + tonumber(ARGV[3]) - 1
local page = redis.call('ZRANGE', KEYS[1], ARGV[2], last)
for _, handle in ipairs(page) do
  local key = records .. handle
  local kind = redis.call('GETRANGE', key, ${VERSION_LENGTH}, ${VERSION_LENGTH})
  if kind == '${LIVE}' then live = live + 1 end
  if kind == '' then dead[#dead + 1] = handle end
end
for _, handle in ipairs(dead) do redis.call('ZREM', KEYS[1], handle) end
return {live, #dead, #page}`,
);

/**
 * KEYS place, the place while it is emptied · ARGV the place's name, how many at once, '1' to begin,
 * a handle that stays, '1' to write something in any case (as DELETE_FOR_GOOD). Moves all entries aside
 * at one moment, and ends some of them. How many are left, how many lived, and the pointers among them.
 */
export const END_IN = timed(
  5,
  RECORDS,
  `local ending = KEYS[2]
if ARGV[3] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then
  local since = ARGV[4] ~= '' and redis.call('ZSCORE', KEYS[1], ARGV[4])
  local left = redis.call('PTTL', KEYS[1])
  if redis.call('EXISTS', ending) == 1 then
    local longest = math.max(left, redis.call('PTTL', ending))
    redis.call('ZUNIONSTORE', ending, 2, ending, KEYS[1], 'AGGREGATE', 'MAX')
    redis.call('PEXPIRE', ending, longest)
    redis.call('DEL', KEYS[1])
  else
    redis.call('RENAME', KEYS[1], ending)
  end
  if since then
    redis.call('ZREM', ending, ARGV[4])
    redis.call('ZADD', KEYS[1], since, ARGV[4])
    redis.call('PEXPIRE', KEYS[1], left)
  end
end
local page = redis.call('ZRANGE', ending, 0, ARGV[2] - 1)
local reply = {0, 0}
for _, handle in ipairs(page) do
  local key = records .. handle
  local kind = redis.call('GETRANGE', key, ${VERSION_LENGTH}, ${VERSION_LENGTH})
  if kind == '${LIVE}' then
    reply[2] = reply[2] + 1
    over[#over + 1] = handle
    changed = true
  elseif kind ~= '' then
    reply[#reply + 1] = redis.call('GET', key)
  end
  redis.call('UNLINK', key)
end
if #page > 0 then redis.call('ZREMRANGEBYRANK', ending, 0, #page - 1) end
if #page == 0 and ARGV[5] == '1' then redis.pcall('SET', ending .. ':ended', '', 'PX', 1) end
reply[1] = redis.call('ZCARD', ending)
return reply`,
);
