import { setTimeout as delay } from 'node:timers/promises';
import { SessionStoreUnavailableError } from '../core/session.errors.js';
import { moving } from './backup.errors.js';
import type { RedisRoom } from './redis-room.js';
import type { SlotMap } from './slot-map.js';

/** Milliseconds until it is looked again whether slots have arrived. */
const PAUSE = 100;
/** Walks that a bucket takes part in before it is given up. */
const WALKS = 3;

/** Which buckets. */
export type IsBucket = (bucket: string) => boolean;

/** One of the walks over some of the buckets. */
export interface Walk<T> {
  readonly found: T;
  /** Buckets of which it has seen everything. */
  readonly isSettled: IsBucket;
}

/**
 * Walks over all keys of some buckets, master by master. Of a slot that moves meanwhile such a walk may miss
 * keys: they go from a master that is still to come to one that was there already. So each bucket counts only
 * if it was at one and the same master before, all the while, and after; the others are walked again.
 *
 * @param walk over the masters that it is given
 * @throws SessionBackupError (`SESSION_BACKUP_MOVING`) if slots do not come to rest
 */
export async function* settledWalks<T>(
  room: RedisRoom,
  buckets: ReadonlySet<string>,
  walk: (isWanted: IsBucket, masters: SlotMap['masters'], isFirst: boolean) => Promise<T>,
): AsyncGenerator<Walk<T>> {
  let left = buckets;
  let since = performance.now();
  for (let walks = 1, isFirst = true; left.size > 0; walks++, isFirst = false) {
    const { masters, owners: before } = await room.slots();
    const wanted = left;
    const found = await walk(
      (bucket) => wanted.has(bucket) && before.has(bucket),
      masters,
      isFirst,
    );
    const { owners: after } = await room.slots();
    const moved = new Set([...wanted].filter((bucket) => !isSame(bucket, before, after)));
    yield { found, isSettled: (bucket) => wanted.has(bucket) && !moved.has(bucket) };
    if (moved.size < wanted.size) {
      walks = 0;
      since = performance.now();
    }
    left = moved;
    if (walks >= WALKS && performance.now() - since > room.moveTimeout) throw moving(left.size);
    await untilSettled(room, left);
  }
}

const isSame = (bucket: string, before: SlotMap['owners'], after: SlotMap['owners']): boolean =>
  before.has(bucket) && before.get(bucket) === after.get(bucket);

/** @throws SessionBackupError (`SESSION_BACKUP_MOVING`) if they are under way for too long */
export async function untilSettled(room: RedisRoom, buckets: ReadonlySet<string>): Promise<void> {
  const until = performance.now() + room.moveTimeout;
  for (let left = buckets; left.size > 0;) {
    const { owners } = await room.slots();
    left = new Set([...left].filter((bucket) => !owners.has(bucket)));
    if (left.size === 0) return;
    if (performance.now() > until) throw moving(left.size);
    // It may be at a master that the client has not heard of: whoever is asked leads there.
    await Promise.all([...left].map((bucket) => room.visit(bucket)));
    await delay(PAUSE, undefined, { signal: room.signal });
  }
}

/**
 * Something with several keys of a bucket, which a Cluster refuses while only some of them have arrived: done
 * again when all have.
 *
 * @throws SessionBackupError (`SESSION_BACKUP_MOVING`) if that takes too long
 */
export async function onceSettled<T>(
  room: RedisRoom,
  bucket: string,
  work: () => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof SessionStoreUnavailableError)) throw error;
      // A call that ends in time does not always get to tell why it took so long.
      const isMoving = error.reason === 'TRYAGAIN' || !(await room.slots()).owners.has(bucket);
      if (!isMoving) throw error;
      if (tries >= WALKS) throw moving(1);
      await untilSettled(room, new Set([bucket]));
    }
  }
}
