import { BUCKETS } from '../core/session-id.js';
import { RedisKeys } from '../stores/redis/redis-keys.js';

/** What an application asks of Redis besides sessions. */
export interface RightsWanted {
  readonly events: boolean;
  readonly nearCache: boolean;
  readonly durability: boolean;
  readonly inCluster: boolean;
}

/** A command as it is sent, and what the rule is called that allows it. */
export interface NeededRight {
  /** As `ACL SETUSER` takes it, without `+`. */
  readonly name: string;
  readonly command: readonly string[];
  /** The rule that allows the channel that it is about, as `ACL SETUSER` takes it. */
  readonly channel?: string;
  /** Cannot be tried on a connection that is used for something else. */
  readonly onlyAsked?: true;
}

/** A bucket that there is not: nobody's sessions are touched when something is tried. */
const NOWHERE = '--';

/** Every command that the library sends, as docs/stores.md grants them. */
export function neededRights(prefix: string, wanted: RightsWanted): NeededRight[] {
  const keys = new RedisKeys(prefix);
  const at = (kind: string) => keys.place(NOWHERE, kind);
  return [
    ...ofStrings(at('string'), at('other')),
    ...ofPlaces(at('place')),
    right('eval return 1 1', at('string')),
    { name: 'evalsha', command: ['EVALSHA', NO_SCRIPT, '1', at('string')] },
    { name: 'scan', command: ['SCAN', '0', 'COUNT', '1'] },
    { name: 'ping', command: ['PING'] },
    { name: 'info', command: ['INFO', 'server'] },
    { name: 'time', command: ['TIME'] },
    ...(wanted.events ? ofEvents(prefix, at, wanted.inCluster) : []),
    ...(wanted.nearCache ? OF_NEAR_CACHE : []),
    ...(wanted.durability ? [{ name: 'wait', command: ['WAIT', '0', '1'] }] : []),
    ...(wanted.inCluster ? IN_CLUSTER : []),
  ];
}

/** Whether a word of such a command is a key that trying it leaves behind. */
export const isScratch = (word: string): boolean => word.includes(`:${NOWHERE}}:`);

const NO_SCRIPT = '0'.repeat(40);

const right = (words: string, ...args: string[]): NeededRight => {
  const [name = '', ...rest] = words.split(' ');
  if (name === 'eval') return { name, command: ['EVAL', 'return 1', '1', ...args] };
  return { name, command: [name.toUpperCase(), ...args, ...rest] };
};

function ofStrings(key: string, other: string): NeededRight[] {
  return [
    { name: 'set', command: ['SET', key, '', 'PX', '1000'] },
    right('get', key),
    { name: 'getex', command: ['GETEX', key, 'PX', '1000'] },
    right('getrange 0 0', key),
    right('exists', key),
    right('pexpire 1000', key),
    right('pttl', key),
    { name: 'rename', command: ['RENAME', key, other] },
    right('getdel', other),
    right('del', other),
    right('unlink', other),
  ];
}

function ofPlaces(key: string): NeededRight[] {
  return [
    right('zadd 0 none', key),
    right('zcard', key),
    right('zcount 0 0', key),
    right('zscore none', key),
    right('zrange 0 0', key),
    right('zrangebyscore 0 0', key),
    right('zrevrange 0 0', key),
    right('zrevrank none', key),
    right('zrandmember', key),
    { name: 'zunionstore', command: ['ZUNIONSTORE', key, '1', key] },
    right('zremrangebyrank 0 0', key),
    right('zrem none', key),
  ];
}

function ofEvents(prefix: string, at: (kind: string) => string, inCluster: boolean) {
  const keys = new RedisKeys(prefix);
  const ofAll = { word: keys.channel, channel: `&${keys.channel}` };
  const ofBucket = { word: keys.told(BUCKETS[0] as string), channel: `&{${prefix}:*` };
  const alone: NeededRight[] = [
    right('hset none none', at('hash')),
    right('hget none', at('hash')),
    right('hdel none', at('hash')),
    { name: 'xadd', command: ['XADD', at('stream'), 'MAXLEN', '0', '*', 'none', ''] },
    { name: 'xrange', command: ['XRANGE', at('stream'), '-', '+', 'COUNT', '1'] },
    // To nobody: the channel is right, and an empty text says nothing.
    aboutChannel('publish', ofAll, ''),
    { ...aboutChannel('subscribe', ofAll), onlyAsked: true },
  ];
  if (!inCluster) return alone;
  return [
    ...alone,
    { ...aboutChannel('spublish', ofBucket, ''), onlyAsked: true as const },
    { ...aboutChannel('ssubscribe', ofBucket), onlyAsked: true as const },
  ];
}

/** @param to the channel, and the rule that allows it */
const aboutChannel = (
  name: string,
  { word, channel }: { readonly word: string; readonly channel: string },
  ...args: string[]
): NeededRight => ({ name, command: [name.toUpperCase(), word, ...args], channel });

const INVALIDATIONS = { word: '__redis__:invalidate', channel: '&__redis__:invalidate' };

const OF_NEAR_CACHE: readonly NeededRight[] = [
  { name: 'client|id', command: ['CLIENT', 'ID'] },
  { name: 'client|tracking', command: ['CLIENT', 'TRACKING', 'OFF'] },
  { ...aboutChannel('subscribe', INVALIDATIONS), onlyAsked: true },
];

const IN_CLUSTER: readonly NeededRight[] = [
  { name: 'cluster|slots', command: ['CLUSTER', 'SLOTS'] },
  { name: 'cluster|info', command: ['CLUSTER', 'INFO'] },
  { name: 'asking', command: ['ASKING'], onlyAsked: true },
  { name: 'readonly', command: ['READONLY'], onlyAsked: true },
  { name: 'client|setname', command: ['CLIENT', 'SETNAME', 'doctor'], onlyAsked: true },
];
