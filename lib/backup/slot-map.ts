import { BUCKETS } from '../core/session-id.js';
import { SessionStoreUnavailableError } from '../core/session.errors.js';
import type { RedisCalls } from '../stores/redis/redis-calls.js';
import type { RedisClient } from '../stores/redis/redis-client.js';
import type { RedisKeys } from '../stores/redis/redis-keys.js';

/** Where buckets are. */
export interface SlotMap {
  /** Those that were asked: a walk goes over these. */
  readonly masters: readonly RedisClient[];
  /**
   * Who has a bucket, and of which epoch that is: it is another one if the slot was away in between. Absent: the
   * slot is on its way to another master, or there is none, or not one alone, that says to have it.
   */
  readonly owners: ReadonlyMap<string, string>;
}

/** What a master says of itself. */
interface Claims {
  readonly owner: string;
  readonly ranges: readonly (readonly [first: number, last: number])[];
  /** On their way to it, or from it. */
  readonly moving: ReadonlySet<number>;
}

/**
 * Asks every master of a Cluster which slots it has (`CLUSTER NODES`: `CLUSTER SHARDS` does not tell what is on
 * its way); each speaks for itself only, as what it has heard of others may be old.
 *
 * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`)
 */
export async function readSlotMap(calls: RedisCalls, keys: RedisKeys): Promise<SlotMap> {
  const { masters } = calls;
  if (!calls.rawClient.nodes) {
    return { masters, owners: new Map(BUCKETS.map((bucket) => [bucket, 'alone'])) };
  }
  if (masters.length === 0) throw new SessionStoreUnavailableError('no connection');
  const all = await Promise.all(masters.map((node) => claimsOf(node, calls)));
  const owners = new Map<string, string>();
  for (const bucket of BUCKETS) {
    const slot = slotOf(calls.prefix + keys.due(bucket));
    const [owner, ...others] = all.filter(({ ranges }) => ranges.some(includes(slot)));
    const isMoving = all.some(({ moving }) => moving.has(slot));
    if (owner && others.length === 0 && !isMoving) owners.set(bucket, owner.owner);
  }
  return { masters, owners };
}

const includes =
  (slot: number) =>
  ([first, last]: readonly [number, number]): boolean =>
    first <= slot && slot <= last;

async function claimsOf(node: RedisClient, calls: RedisCalls): Promise<Claims> {
  const reply = String(await calls.bounded(node.call!('CLUSTER', 'NODES')));
  const own = reply.split('\n').find((line) => line.split(' ')[2]?.includes('myself')) ?? '';
  // id, address, flags, master, ping, pong, epoch, link; slots follow.
  const words = own.trim().split(' ');
  const isMaster = words[2]?.split(',').includes('master') ?? false;
  const slots = isMaster ? words.slice(8) : [];
  return {
    owner: `${words[0]} ${words[6]}`,
    ranges: slots
      .filter((word) => !word.startsWith('['))
      .map((word) => word.split('-').map(Number))
      .map(([first = -1, last = first]) => [first, last] as const),
    // [slot->-to] and [slot-<-from]
    moving: new Set(slots.flatMap((word) => /^\[(\d+)-/.exec(word)?.slice(1).map(Number) ?? [])),
  };
}

const SLOTS = 16_384;

/** As in the specification of the Cluster: CRC-16 (XMODEM) of what stands in the first braces, or of all. */
export function slotOf(key: string): number {
  const from = key.indexOf('{');
  const to = key.indexOf('}', from + 1);
  const hashed = from >= 0 && to > from + 1 ? key.slice(from + 1, to) : key;
  let crc = 0;
  for (const byte of Buffer.from(hashed)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  }
  return (crc & 0xffff) % SLOTS;
}
