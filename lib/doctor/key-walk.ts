import { LIVE } from '../core/session-record.js';
import { VERSION_LENGTH } from '../core/session-store.interface.js';
import type { RedisClient } from '../stores/redis/redis-client.js';
import { isOtherType, RecentKeys } from '../stores/redis/recent-keys.js';
import { RedisKeys } from '../stores/redis/redis-keys.js';
import { ask, mastersOf } from './server-facts.js';

/** What a key is for. */
export type KeyKind = 'record' | 'place' | 'due' | 'notices' | 'told' | 'other';

/** A key that belongs to sessions. */
export interface WalkedKey {
  readonly node: RedisClient;
  readonly key: string;
  readonly bucket: string;
  readonly kind: KeyKind;
  /** What follows the bucket. */
  readonly rest: string;
}

const PAGE = 500;

/** Keys of all databases that are walked: so much there is to look at. */
export async function sizeOf(client: RedisClient): Promise<number> {
  const sizes = mastersOf(client).map(async (node) => Number(await ask(node, 'DBSIZE')));
  const known = await Promise.all(sizes).catch(() => []);
  return known.reduce((sum, size) => sum + size, 0);
}

/**
 * All keys with a prefix, page by page, with SCAN on each master; never KEYS. Redis may tell one twice: it is
 * given once, as far as {@link RecentKeys} remembers it.
 *
 * @param onPage told how many keys, of whatever kind, were passed by
 */
export async function* walkKeys(
  client: RedisClient,
  prefix: string,
  onPage: (passed: number) => void = () => undefined,
): AsyncGenerator<WalkedKey[]> {
  const glob = prefix.replace(/[\\*?[\]^-]/g, '\\$&');
  for (const node of mastersOf(client)) {
    const recent = new RecentKeys();
    let cursor = '0';
    do {
      const [next, keys] = await node.scan(cursor, 'MATCH', `{${glob}:??}:*`, 'COUNT', PAGE);
      onPage(PAGE);
      const fresh = keys.filter((key) => recent.add(key));
      if (fresh.length > 0) yield fresh.map((key) => walked(node, key, prefix));
      cursor = String(next);
    } while (cursor !== '0');
  }
}

function walked(node: RedisClient, key: string, prefix: string): WalkedKey {
  const start = prefix.length + 2;
  const rest = key.slice(start + 4);
  return { node, key, bucket: key.slice(start, start + 2), kind: kindOf(rest), rest };
}

function kindOf(rest: string): KeyKind {
  if (rest.startsWith('s:')) return 'record';
  if (rest === 'x') return 'due';
  if (rest === 'n') return 'notices';
  if (rest === 'e') return 'told';
  return /^([pkdao]|i\.[^:]+):[^:]+$/.test(rest) ? 'place' : 'other';
}

/** What a record takes, and whether it is a session. */
export interface RecordLook {
  readonly isLive: boolean;
  /** It is no record at all: of another type than records are. */
  readonly isForeign: boolean;
  /** Bytes with all that Redis needs for it; `undefined`: not told to this user. */
  readonly bytes: number | undefined;
  /** Milliseconds that it still has; -1: for ever. */
  readonly remaining: number;
}

/** `undefined`: it is gone by now. */
export async function lookAt({ node, key }: WalkedKey): Promise<RecordLook | undefined> {
  const [kind, remaining, bytes] = await Promise.all([
    ofItsType(node.getrange(key, VERSION_LENGTH, VERSION_LENGTH)),
    ask(node, 'PTTL', key).then(Number),
    ask(node, 'MEMORY', 'USAGE', key).then(
      (count) => (count === null ? undefined : Number(count)),
      () => undefined,
    ),
  ]);
  if (remaining === -2) return undefined;
  return { isLive: kind === LIVE, isForeign: kind === undefined, bytes, remaining };
}

/** `undefined` for a key of another type: somebody else has written it. */
async function ofItsType<T>(reply: Promise<T>): Promise<T | undefined> {
  return reply.catch((error: Error) => {
    if (isOtherType(error)) return undefined;
    throw error;
  });
}

/** How many entries a place has, and how many of them lead nowhere; of long ones the oldest only. `undefined`: it is no place. */
export async function lookIn(
  { node, key, bucket }: WalkedKey,
  prefix: string,
  most: number,
): Promise<{ readonly entries: number; readonly dead: number } | undefined> {
  const keys = new RedisKeys(prefix);
  const handles = (await ofItsType(ask(node, 'ZRANGE', key, 0, most - 1))) as string[] | undefined;
  if (!handles) return undefined;
  const there = await Promise.all(
    handles.map(async (handle) =>
      Number(await ask(node, 'EXISTS', recordKey(keys, bucket, handle))),
    ),
  );
  return { entries: handles.length, dead: there.filter((count) => count === 0).length };
}

/** The record of a handle lies beside its place, also where the handle is of another shape. */
const recordKey = (keys: RedisKeys, bucket: string, handle: string): string =>
  `${keys.place(bucket, 's')}:${handle}`;
