import { VERSION_LENGTH } from '../../core/session-store.interface.js';
import { script, type RedisScript } from './redis-script.js';

/** Characters of a print. */
export const PRINT_LENGTH = 16;

// A copy is era (12) · state (1) · end of the idle window (15) · its end in the base (15) · print (16) · value.
const ERA = 12;
const STATE = ERA + 1;
const UNTIL = STATE + 15;
const KNOWN = UNTIL + 15;
const HEAD = KNOWN + PRINT_LENGTH;
const VALUE = HEAD + 1;

/**
 * Marks, lease and copy of a session are one step to all of these. What they go by:
 *
 * - The era is the server's replication id. It changes with every restart and every failover: what a server has that was
 *   written in another era may be older than what was acknowledged since, and is not served.
 * - The states: 0, as in the base; 1, newer than the base; 2, perhaps newer than the base, and served to nobody; 3, as in
 *   the base when a change began, and served to nobody. Newer may be the value, or the idle window alone. Each copy of
 *   state 1 or 2 is named in the stream.
 * - The end in the base is the last that is known of: the idle window may have been moved there since.
 */
const BASICS = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function eraNow()
  local id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
  return string.sub(id or string.rep('-', ${ERA}), 1, ${ERA})
end
local function headOf(copy)
  local head = redis.call('GETRANGE', copy, 0, ${HEAD + VERSION_LENGTH - 1})
  if head == '' then return nil end
  return {
    era = string.sub(head, 1, ${ERA}),
    state = string.sub(head, ${STATE}, ${STATE}),
    left = tonumber(string.sub(head, ${STATE + 1}, ${UNTIL})) - now,
    known = tonumber(string.sub(head, ${UNTIL + 1}, ${KNOWN})),
    print = string.sub(head, ${KNOWN + 1}, ${HEAD}),
    version = string.sub(head, ${VALUE}),
  }
end
local function valueOf(copy)
  return string.sub(redis.call('GET', copy), ${VALUE})
end
local function put(copy, state, value, window, print, hotFor, known)
  window = math.floor(tonumber(window))
  if window <= 0 then return redis.call('UNLINK', copy) end
  local ends = string.format('%015d%015d', now + window, known or now + window)
  redis.call('SET', copy, eraNow() .. state .. ends .. print .. value, 'PX', math.min(window, tonumber(hotFor)))
end
local function isBehind(head)
  return head.state == '1' or head.state == '2'
end
local function doubt(copy)
  redis.call('SETRANGE', copy, ${STATE - 1}, '2')
end
local function spoil(marks)
  if redis.call('ZCARD', marks) == 0 then return end
  redis.call('ZADD', marks, now + math.max(redis.call('PTTL', marks), 1), '!')
end
local function move(copy, head, ttl)
  redis.call('SETRANGE', copy, ${STATE}, string.format('%015d', now + tonumber(ttl)))
  if isBehind(head) or tonumber(ttl) < redis.call('PTTL', copy) then redis.call('PEXPIRE', copy, ttl) end
end`;

const hot = (...parts: readonly string[]): RedisScript => script(BASICS, ...parts);

/** As the scripts that write sessions: what comes later than anybody waits for is not done. */
const IN_TIME = `if ARGV[#ARGV] ~= '' and now > tonumber(ARGV[#ARGV]) then
  return redis.error_reply('LATE nobody waits for this any more')
end`;

/**
 * KEYS copy, marks, lease · ARGV ttl (empty: no touch), a new lease, how long it holds. 1, value, remaining for a hit; else
 * 0 for the new lease, 2 for another's, 3 for a mark, then the lease, and what the base may not have with what remains of it.
 * The window is moved in any case: who is served by nobody is no less there.
 */
export const FIND = hot(
  `local head = headOf(KEYS[1])
local marked = redis.call('EXISTS', KEYS[2]) == 1
local era = eraNow()
local behind, left = '', 0
if head and head.left > 0 then
  if ARGV[1] ~= '' and head.era == era then
    move(KEYS[1], head, ARGV[1])
    head.left = tonumber(ARGV[1])
  end
  if not marked and head.state < '2' and head.era == era then
    return {1, valueOf(KEYS[1]), head.left}
  end
  if isBehind(head) then behind, left = valueOf(KEYS[1]), head.left end
end
if marked then return {3, '', behind, left} end
local lease = redis.call('GET', KEYS[3])
if lease and string.sub(lease, 1, ${ERA}) == era then
  return {2, string.sub(lease, ${ERA + 1}), behind, left}
end
redis.call('SET', KEYS[3], era .. ARGV[2], 'PX', ARGV[3])
return {0, ARGV[2], behind, left}`,
);

/** KEYS copy, marks, lease · ARGV lease, value (empty: none), window, print, hotFor. 1 if it was left. */
export const FILL = hot(
  `local lease = redis.call('GET', KEYS[3])
if lease ~= eraNow() .. ARGV[1] or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('UNLINK', KEYS[3])
local head = headOf(KEYS[1])
if head and head.era == eraNow() and head.state == '1' then return 0 end
if ARGV[2] == '' then
  redis.call('UNLINK', KEYS[1])
  return 0
end
if head and isBehind(head) and string.sub(head.version, 1, 8) > string.sub(ARGV[2], 1, 8) then return 0 end
put(KEYS[1], '0', ARGV[2], ARGV[3], ARGV[4], ARGV[5])
return 1`,
);

/**
 * KEYS copy, marks, lease of each · ARGV token, how long the mark stays. Of each what remains of its window (-1: not known)
 * and what the base may not have. Two who mark at the same time are both told of by `!`.
 */
export const MARK = hot(
  `local reply = {}
for i = 1, #KEYS, 3 do
  local copy, marks = KEYS[i], KEYS[i + 1]
  redis.call('UNLINK', KEYS[i + 2])
  redis.call('ZREMRANGEBYSCORE', marks, '-inf', now)
  local others = redis.call('ZCARD', marks) > 0 and not redis.call('ZSCORE', marks, ARGV[1])
  redis.call('ZADD', marks, now + ARGV[2], ARGV[1])
  if others then redis.call('ZADD', marks, now + ARGV[2], '!') end
  redis.call('PEXPIRE', marks, ARGV[2])
  local head = headOf(copy)
  local left, behind = -1, ''
  if head and head.left > 0 then
    if isBehind(head) or head.state == '0' and head.era == eraNow() then left = head.left end
    if isBehind(head) then behind = valueOf(copy) end
  end
  if head and isBehind(head) then doubt(copy)
  elseif head then redis.call('SETRANGE', copy, ${STATE - 1}, '3') end
  reply[#reply + 1] = left
  reply[#reply + 1] = behind
end
return reply`,
);

/**
 * KEYS copy, marks, lease of each · ARGV token, '1' if they are gone, value (empty: none), window, print, hotFor. A mark that
 * is not there any more may have let others leave what was out of date by then; and who has marked since, while that was
 * forgotten, does not know that they were two.
 */
export const RELEASE = hot(
  `for i = 1, #KEYS, 3 do
  local copy, marks = KEYS[i], KEYS[i + 1]
  local alone = redis.call('ZREM', marks, ARGV[1]) == 1
  redis.call('ZREMRANGEBYSCORE', marks, '-inf', now)
  if not alone then spoil(marks) end
  if redis.call('ZSCORE', marks, '!') then
    alone = false
    if redis.call('ZCARD', marks) == 1 then redis.call('UNLINK', marks) end
  end
  redis.call('UNLINK', KEYS[i + 2])
  local head = headOf(copy)
  if ARGV[2] == '1' then redis.call('UNLINK', copy)
  elseif alone and ARGV[3] ~= '' then put(copy, '0', ARGV[3], ARGV[4], ARGV[5], ARGV[6])
  elseif head and isBehind(head) then doubt(copy)
  elseif head then redis.call('UNLINK', copy) end
end
return 1`,
);

/** KEYS copy, marks, lease of each · ARGV '1' if they are over. */
export const DROP = hot(
  `for i = 1, #KEYS, 3 do
  redis.call('UNLINK', KEYS[i + 2])
  spoil(KEYS[i + 1])
  local head = headOf(KEYS[i])
  if head and (ARGV[1] == '1' or not isBehind(head)) then redis.call('UNLINK', KEYS[i]) elseif head then doubt(KEYS[i]) end
end
return 1`,
);

/** KEYS copy · ARGV ttl. */
export const MOVE = hot(
  `local head = headOf(KEYS[1])
if head and head.left > 0 then move(KEYS[1], head, ARGV[1]) end
return 1`,
);

/**
 * KEYS copy, marks, lease, stream · ARGV expected version, value, ttl (empty: keep), print, handle, how many may wait, for
 * how long the base keeps what it takes for ended. 1 if saved, 0 if only the base can decide, else the value that is there.
 * What the base may have removed by now cannot be brought there any more.
 */
export const SAVE_HERE: RedisScript = {
  ...hot(
    IN_TIME,
    `local head = headOf(KEYS[1])
if not head or head.left <= 0 or head.state > '1' then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 or head.era ~= eraNow() then return 0 end
if head.known + tonumber(ARGV[7]) <= now then return 0 end
if head.version == string.sub(ARGV[2], 1, ${VERSION_LENGTH}) then return 1 end
if head.version ~= ARGV[1] then return valueOf(KEYS[1]) end
if head.print ~= ARGV[4] then return 0 end
if head.state == '0' and redis.call('XLEN', KEYS[4]) >= tonumber(ARGV[6]) then return 0 end
local window = ARGV[3] ~= '' and ARGV[3] or head.left
put(KEYS[1], '1', ARGV[2], window, ARGV[4], window, head.known)
if head.state == '0' then redis.call('XADD', KEYS[4], '*', 'h', ARGV[5]) end
return 1`,
  ),
  timed: true,
};

/**
 * KEYS copy, stream · ARGV handle, how many may wait. The base could not be told of the idle window: so the copy stays as
 * long as that, and is named in the stream. 1 if it is.
 */
export const KEEP = hot(
  `local head = headOf(KEYS[1])
if not head or head.left <= 0 or head.era ~= eraNow() then return 0 end
if not isBehind(head) then
  if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[2]) then return 0 end
  redis.call('SETRANGE', KEYS[1], ${STATE - 1}, head.state == '0' and '1' or '2')
  redis.call('XADD', KEYS[2], '*', 'h', ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], head.left)
return 1`,
);

/** KEYS stream · ARGV group, consumer, how many, milliseconds after which what somebody took is anybody's again. */
export const TAKE = hot(
  `if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0')
local copies = string.sub(KEYS[1], 1, -2) .. 'c:'
local reply = {}
local function add(entries)
  for _, entry in ipairs(entries) do
    if entry then
      local handle = entry[2][2]
      local head = headOf(copies .. handle)
      local isDue = head and isBehind(head) and head.left > 0
      reply[#reply + 1] = entry[1]
      reply[#reply + 1] = handle
      reply[#reply + 1] = isDue and valueOf(copies .. handle) or ''
      reply[#reply + 1] = isDue and head.left or 0
    end
  end
end
add(redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[4], '0-0', 'COUNT', ARGV[3])[2])
local new = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3], 'STREAMS', KEYS[1], '>')
if new then add(new[1][2]) end
return reply`,
);

/**
 * KEYS stream · ARGV group, hotFor, then of each: id, handle, version that was brought, what became of it. An empty stream
 * goes: nobody has taken anything of it that is not done.
 */
export const DONE = hot(
  `local copies = string.sub(KEYS[1], 1, -2) .. 'c:'
for i = 3, #ARGV, 4 do
  local handle, version, became = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local copy = copies .. handle
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  redis.call('XDEL', KEYS[1], ARGV[i])
  local head = headOf(copy)
  if head and isBehind(head) then
    if became == 'again' or head.version ~= version then
      redis.call('XADD', KEYS[1], '*', 'h', handle)
    elseif became == 'brought' and head.state == '1' and head.era == eraNow() then
      redis.call('SETRANGE', copy, ${STATE - 1}, '0')
      redis.call('SETRANGE', copy, ${UNTIL}, string.format('%015d', now + head.left))
      if head.left > tonumber(ARGV[2]) then redis.call('PEXPIRE', copy, ARGV[2]) end
    else
      redis.call('UNLINK', copy)
    end
  end
end
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('UNLINK', KEYS[1]) end
return 1`,
);
