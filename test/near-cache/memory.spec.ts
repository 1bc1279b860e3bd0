import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  RedisSessionStore,
  type LoadedValue,
  type RedisClient,
  type SessionStore,
} from 'nestjs-distributed-session';
import { systemClock } from '../../lib/core/clock.js';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { decodeRecord, encodeLive, nextVersion } from '../../lib/core/session-record.js';
import { asShared } from '../../lib/core/shared-record.js';
import { NearCache } from '../../lib/stores/near-cache/near-cache.js';
import type { NearCopiesOptions } from '../../lib/stores/near-cache/near-copies.js';
import { RedisKeys } from '../../lib/stores/redis/redis-keys.js';
import { inParallel, until } from '../support/app.js';
import {
  clientFor,
  startRedis,
  trialsOf,
  type RedisUnderTest,
} from '../support/redis-under-test.js';

const ENTRIES = 10_000;
/** The full run is one of a million: `SESSIONS=1000000`. */
const SESSIONS = Number(process.env.SESSIONS ?? Math.max(4 * ENTRIES, trialsOf(100_000)));
const BATCH = 1_000;
/** After so many the heap is looked at. */
const PART = SESSIONS / 10;
/** Requests at once. */
const WIDTH = 100;
const HOUR = 3_600_000;
const MB = 2 ** 20;
/** What is estimated of a copy: twice its text, and a fixed part. */
const estimated = (value: string): number => 2 * value.length + 600;

/** Whether Node was started with `--expose-gc` or not. */
const collectGarbage = (() => {
  setFlagsFromString('--expose_gc');
  return runInNewContext('gc') as () => void;
})();

/** Bytes of the heap that are in use, after all garbage was collected. */
async function usedHeap(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    collectGarbage();
    // What waits for the loop still holds something.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().heapUsed;
}

/** A session whose text has about this length. */
function session(length: number): { handle: string; value: string } {
  const now = Date.now();
  const header = { createdAt: now, absoluteEnd: now + 24 * HOUR, savedAt: now };
  // In words: what has the shape of an id is looked into when Redis is stopped.
  const data = { cart: ['one', 'two', 'three'], text: 'all about it '.repeat(length / 13 - 9) };
  const value = encodeLive(nextVersion(), header, '', JSON.stringify(data));
  return { handle: handleOf(newSessionId()), value };
}

const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

describe('the memory of a near cache', () => {
  const keys = new RedisKeys('sess');
  let redis: RedisUnderTest;
  let others: Redis;
  let client: Redis;
  let store: RedisSessionStore;
  let cache: NearCache;
  let near: SessionStore;

  const start = async (options: Partial<NearCopiesOptions>) => {
    // Nothing here is about time, and the machine may be busy.
    client = await clientFor(redis, { commandTimeout: 10_000 });
    store = new RedisSessionStore(client as RedisClient);
    const bounds = { maxEntries: ENTRIES, maxBytes: 64 * MB, maxAge: HOUR };
    cache = new NearCache({ ...bounds, clock: systemClock, ...options });
    cache.following = await store.follow(cache);
    await until('copies are kept', () => cache.following?.isLive);
    near = cache.before<SessionStore>({
      load: (handle, one) => store.load(handle, one),
      create: (handle, value, one) => store.create(handle, value, one),
      save: (handle, value, one) => store.save(handle, value, one),
      touch: (handle, ttl) => store.touch(handle, ttl),
      delete: (handle) => store.delete(handle),
      count: () => store.count(),
      ping: () => store.ping(),
    });
  };
  /** Sessions that others have made. */
  const made = async (count: number, length: number) => {
    const all = times(count, () => session(length));
    const put = all.map(({ handle, value }) => others.set(keys.record(handle), value, 'PX', HOUR));
    await Promise.all(put);
    return all;
  };
  /** As a request reads: what is kept is decoded, and shared with the next. */
  const read = async (handle: string): Promise<LoadedValue | undefined> => {
    const loaded = await near.load(handle, { near: { strong: false, until: Date.now() + HOUR } });
    if (loaded?.copy) loaded.copy.record ??= asShared(decodeRecord(loaded.value) as never);
    return loaded;
  };
  const readAll = (all: readonly { handle: string }[]) =>
    inParallel(all.length, WIDTH, (i) => read(all[i]!.handle));
  const ended = (handles: readonly string[]) =>
    Promise.all(handles.map((handle) => others.unlink(keys.record(handle))));

  beforeAll(async () => {
    redis = await startRedis();
    others = await clientFor(redis);
  }, 60_000);

  afterEach(async () => {
    await store.close();
    client.disconnect();
  });

  afterAll(async () => {
    others.disconnect();
    await redis.stop();
  });

  it(
    `stays as it is, however many sessions are read through it: ${SESSIONS}`,
    async () => {
      await start({});
      const live: string[][] = [];
      const heaps: number[] = [];
      const empty = await usedHeap();
      for (let seen = BATCH; seen <= SESSIONS; seen += BATCH) {
        const batch = await made(BATCH, 1_000);
        await readAll(batch);
        await readAll(batch);
        live.push(batch.map(({ handle }) => handle));
        // Those that ended are told of, long after their copies gave way to others.
        if (live.length > (2 * ENTRIES) / BATCH) await ended(live.shift()!);
        // A busy machine may take the connection for lost, and then all copies are dropped.
        const isFull = seen >= 2 * ENTRIES && cache.figures.entries === ENTRIES;
        if (isFull && seen >= (heaps.length + 1) * PART) heaps.push(await usedHeap());
      }
      const [first, ...later] = heaps as [number, ...number[]];
      if (process.env.SESSIONS) {
        const shown = heaps.map((heap) => (heap / MB).toFixed(1)).join(', ');
        const flushes = `${cache.figures.flushes} flushes`;
        console.log(`heap of ${(empty / MB).toFixed(1)} MB before, then of ${shown}; ${flushes}`);
      }
      expect(later.length).toBeGreaterThan(2);
      for (const heap of later) expect(Math.abs(heap - first) / first).toBeLessThan(0.05);
      // Nor does it grow by much of what is kept: the size of all the rest must not hide it.
      for (const heap of later) expect((heap - first) / (first - empty)).toBeLessThan(0.1);

      const { hits, misses, entries, bytes } = cache.figures;
      expect(hits + misses).toBe(2 * SESSIONS);
      expect(hits / SESSIONS).toBeGreaterThan(0.9);
      expect(entries).toBeLessThanOrEqual(ENTRIES);
      expect(bytes).toBeGreaterThan(ENTRIES * 2_000);
      // It is no less than what is really taken.
      expect(first - empty).toBeLessThan(bytes);
    },
    60_000 + SESSIONS,
  );

  it('is bounded by bytes where sessions are large', async () => {
    const maxBytes = 8 * MB;
    await start({ maxBytes });
    const large = await made(300, 64 * 1_024);
    const size = estimated(large[0]!.value);
    const fit = Math.floor(maxBytes / size);
    const empty = await usedHeap();
    for (const [i, { handle }] of large.entries()) {
      await read(handle);
      const entries = Math.min(i + 1, fit);
      expect(cache.figures).toMatchObject({ entries, bytes: entries * size });
    }
    expect((await usedHeap()) - empty).toBeLessThan(maxBytes);
    // The latest are there, those before them are not.
    const served = (await readAll(large.slice(-fit))).map((loaded) => loaded?.served);
    expect(served).toEqual(times(fit, () => true));
    expect((await read(large[0]!.handle))?.served).toBeUndefined();
  });

  it('is given back with what has ended, and not taken by what is larger than all of it', async () => {
    await start({ maxBytes: 65_536 });
    const [large] = (await made(1, 64 * 1_024)) as [{ handle: string; value: string }];
    expect((await read(large.handle))?.value).toBe(large.value);
    expect((await read(large.handle))?.served).toBeUndefined();
    expect(cache.figures).toMatchObject({ entries: 0, bytes: 0, hits: 0, misses: 2 });

    const small = await made(10, 1_000);
    await readAll(small);
    const bytes = small.reduce((sum, { value }) => sum + estimated(value), 0);
    expect(cache.figures).toMatchObject({ entries: 10, bytes });
    await near.delete(small[0]!.handle);
    expect(cache.figures.entries).toBe(9);
    await ended(small.slice(1).map(({ handle }) => handle));
    await until('all is given back', () => cache.figures.entries === 0);
    expect(cache.figures).toMatchObject({ bytes: 0, invalidations: 9 });
  });
});
