import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { setTimeout as pause } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import {
  MemorySessionStore,
  SessionStoreUnavailableError,
  type RedisClient,
} from 'nestjs-distributed-session';
import { tieredStore, type TieredStoreOptions } from 'nestjs-distributed-session/tiered';
import { systemClock } from '../../lib/core/clock.js';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { encodeLive, nextVersion, versionOf } from '../../lib/core/session-record.js';
import type { StoredValue } from '../../lib/core/session-store.interface.js';
import { RedisHotCopies } from '../../lib/stores/redis/redis-hot-copies.js';
import { Tier } from '../../lib/stores/tiered/tier.js';
import { until } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';

const HOUR = 3_600_000;
/** The idle window of these tests, in milliseconds. */
const IDLE = 1_000;
const PLACE = 'p:someone';
const BUCKET = 'b3';
const STREAM = `{sess:${BUCKET}}:w`;

/** A session as the library writes it. */
function valueOf(data: unknown, previous?: StoredValue): StoredValue {
  const header = { createdAt: 1, absoluteEnd: 9e12, savedAt: 1 };
  const version = nextVersion(previous && versionOf(previous));
  return encodeLive(version, header, '', JSON.stringify(data));
}

/** A base that can be out of reach. */
class Base extends MemorySessionStore {
  isDown = false;

  static switchable(): Base {
    const base = new Base(systemClock);
    return new Proxy(base, {
      get(target, name) {
        const verb: unknown = Reflect.get(target, name);
        if (typeof verb !== 'function') return verb;
        return (...args: unknown[]) => {
          if (base.isDown && name !== 'keepLapsed')
            return Promise.reject(new SessionStoreUnavailableError('stopped'));
          return (verb as (...all: unknown[]) => unknown).apply(target, args);
        };
      },
      set: (target, name, value) => Reflect.set(target, name, value),
    });
  }
}

let redis: RedisServer;
let client: Redis;
const opened = new Opened();

beforeAll(async () => {
  redis = await RedisServer.start();
  client = redis.connect();
}, 60_000);
afterEach(async () => {
  await opened.close();
  await client.flushall();
});
afterAll(async () => {
  client.disconnect();
  await redis.stop();
});

const nodeOf = (base: Base, more: Partial<TieredStoreOptions> = {}) =>
  opened.add(tieredStore({ base, redis: redis.url, flushEvery: HOUR, ...more }));
type Node = ReturnType<typeof nodeOf>;

/** A session whose window is short, with a copy. */
async function hot(base: Base, store: Node) {
  const handle = handleOf(newSessionId(parseInt(BUCKET, 16)));
  const value = valueOf({ n: 0 });
  const standing = { places: [PLACE], since: 1, life: HOUR };
  await base.create(handle, value, { ttl: IDLE, standing });
  await store.load(handle);
  await store.settled();
  return { handle, value };
}

/** The base is away for longer than the window, and the session in use meanwhile. */
async function outage(base: Base, use: () => Promise<unknown>, lasts = 1.6 * IDLE) {
  base.isDown = true;
  const end = performance.now() + lasts;
  while (performance.now() < end) {
    await use();
    await pause(50);
  }
}

/** It is back, and this node knows. */
async function back(base: Base, store: Node): Promise<void> {
  base.isDown = false;
  const works = () =>
    store.ping().then(
      () => true,
      () => false,
    );
  await until('the base answers', works);
}

const inUse = (store: Node, handle: string) => async () => {
  expect(await store.load(handle, { touch: IDLE })).toBeDefined();
};

describe('an outage of the database that is longer than the idle window', () => {
  it('loses nothing that was acknowledged, write-behind', async () => {
    const base = Base.switchable();
    const store = nodeOf(base, { mode: 'write-behind' });
    const { handle, value } = await hot(base, store);
    let last = value;
    let n = 0;
    await outage(base, async () => {
      await store.load(handle, { touch: IDLE });
      const next = valueOf({ n: ++n }, last);
      const outcome = await store.save(handle, next, { expected: versionOf(last), ttl: IDLE });
      expect(outcome).toEqual({ status: 'saved' });
      last = next;
    });
    await back(base, store);
    expect(await base.load(handle)).toBeUndefined();
    await store.flush();
    expect((await base.load(handle))?.value).toBe(last);
    expect((await store.load(handle))?.value).toBe(last);
    expect(await client.exists(STREAM)).toBe(0);
  });

  it('ends no session that was in use, write-through, although its copy is older than hotFor', async () => {
    const base = Base.switchable();
    const store = nodeOf(base, { hotFor: '1s' });
    const { handle, value } = await hot(base, store);
    await outage(base, inUse(store, handle));
    await back(base, store);
    expect((await store.load(handle, { touch: IDLE }))?.value).toBe(value);
    await store.settled();
    // The window is in the base as well.
    await client.flushall();
    expect((await store.load(handle))?.value).toBe(value);
  });

  it('is made up for by any node: what one could not tell, another brings', async () => {
    const base = Base.switchable();
    const [one, other] = [nodeOf(base), nodeOf(base)];
    const { handle, value } = await hot(base, one);
    await outage(base, inUse(one, handle));
    await one.settled();
    await back(base, other);
    await other.flush();
    expect((await base.load(handle))?.value).toBe(value);
    expect((await base.load(handle, { remaining: true }))?.remaining).toBeLessThanOrEqual(IDLE);
  });

  it('ends no session of whoever tries to write meanwhile, write-through', async () => {
    const base = Base.switchable();
    const store = nodeOf(base);
    const { handle, value } = await hot(base, store);
    await outage(base, async () => {
      // The write comes first: the copy does not know yet that its window cannot be moved.
      const next = valueOf({ n: 1 }, value);
      const save = store.save(handle, next, { expected: versionOf(value), ttl: IDLE });
      await expect(save).rejects.toThrow(SessionStoreUnavailableError);
      await store.load(handle, { touch: IDLE }).catch(() => undefined);
    });
    await back(base, store);
    expect((await store.load(handle))?.value).toBe(value);
    const next = valueOf({ n: 1 }, value);
    const save = { expected: versionOf(value), ttl: IDLE };
    expect(await store.save(handle, next, save)).toEqual({ status: 'saved' });
    expect((await base.load(handle))?.value).toBe(next);
  });

  it('ends whoever was away for the whole window', async () => {
    const base = Base.switchable();
    const store = nodeOf(base);
    const { handle } = await hot(base, store);
    await outage(base, async () => undefined);
    await back(base, store);
    expect(await store.load(handle)).toBeUndefined();
    expect(await store.touch(handle, HOUR)).toBe(false);
    await store.flush();
    expect(await base.load(handle)).toBeUndefined();
  });

  it('is what a touch knows of as well', async () => {
    const base = Base.switchable();
    const store = nodeOf(base);
    const { handle } = await hot(base, store);
    await outage(base, async () => expect(await store.touch(handle, IDLE)).toBe(true));
    await back(base, store);
    expect(await store.touch(handle, HOUR)).toBe(true);
    expect((await base.load(handle, { remaining: true }))?.remaining).toBeGreaterThan(IDLE);
  });
});

describe('what was ended stays ended', () => {
  const ends = {
    'by a logout': (store: Node, handle: string) => store.delete(handle),
    'with all of its principal': (store: Node) => store.endIn(BUCKET, PLACE),
  };
  describe.each(['write-through', 'write-behind'] as const)('%s', (mode) => {
    it.each(Object.entries(ends))(
      '%s, when its window was over in the base only',
      async (_, end) => {
        const base = Base.switchable();
        const [one, other] = [nodeOf(base, { mode }), nodeOf(base, { mode })];
        const { handle, value } = await hot(base, one);
        await outage(base, inUse(one, handle));
        const late = await other.load(handle);
        expect(late?.value).toBe(value);
        await back(base, one);
        await back(base, other);
        expect(await base.load(handle)).toBeUndefined();
        await end(one, handle);
        for (const store of [one, other]) await store.flush();
        expect(await other.touch(handle, HOUR)).toBe(false);
        expect(await other.load(handle, { touch: HOUR })).toBeUndefined();
        expect(await base.bring(handle, value, HOUR, { lapsed: true })).toBe(false);
        expect(await base.load(handle)).toBeUndefined();
      },
    );
  });

  it('by a logout that was refused in the outage, and tried again', async () => {
    const base = Base.switchable();
    const store = nodeOf(base);
    const { handle } = await hot(base, store);
    await outage(base, inUse(store, handle));
    await expect(store.delete(handle)).rejects.toThrow(SessionStoreUnavailableError);
    await expect(store.load(handle, { touch: IDLE })).rejects.toThrow(SessionStoreUnavailableError);
    await back(base, store);
    await store.flush();
    await store.delete(handle);
    expect(await store.load(handle)).toBeUndefined();
    expect(await base.load(handle)).toBeUndefined();
  });
});

describe('an outage that is longer than the base keeps sessions', () => {
  it('is a time when no more changes are taken that could not be brought', async () => {
    const base = Base.switchable();
    const how = { mode: 'write-behind', hotFor: '1s', outageGrace: '1s' } as const;
    const store = nodeOf(base, how);
    const { handle, value } = await hot(base, store);
    const began = performance.now();
    let last = value;
    let refusedAfter: number | undefined;
    await outage(
      base,
      async () => {
        await inUse(store, handle)();
        const next = valueOf({ n: 1 }, last);
        const save = { expected: versionOf(last), ttl: IDLE };
        const outcome = await store.save(handle, next, save).catch((error: unknown) => {
          expect(error).toBeInstanceOf(SessionStoreUnavailableError);
          refusedAfter ??= performance.now() - began;
        });
        if (!outcome) return;
        expect(refusedAfter).toBeUndefined();
        last = next;
      },
      3.5 * IDLE,
    );
    // What was left of the window, and the grace.
    expect(refusedAfter).toBeGreaterThan(1.4 * IDLE);
    expect(refusedAfter).toBeLessThan(3 * IDLE);
  });
});

describe('what is in Redis', () => {
  it('names no node that has ended, and is gone when the base has all', async () => {
    const base = Base.switchable();
    const store = nodeOf(base, { mode: 'write-behind' });
    const options = { keyPrefix: 'sess', hotFor: HOUR, maxBehind: 9, printOf: () => undefined };
    for (let i = 0; i < 5; i++) {
      const { handle, value } = await hot(base, store);
      await store.save(handle, valueOf({ n: 1 }, value), { expected: versionOf(value), ttl: HOUR });
      const copies = new RedisHotCopies(client as unknown as RedisClient, options);
      expect((await copies.take(BUCKET, 10)).map((one) => one.handle)).toEqual([handle]);
    }
    expect(await client.xinfo('CONSUMERS', STREAM, 'base')).toHaveLength(1);
    const later = new RedisHotCopies(client as unknown as RedisClient, { ...options, takenFor: 0 });
    const taken = await later.take(BUCKET, 10);
    await later.done(
      BUCKET,
      taken.map((entry) => ({ entry, became: 'brought' })),
    );
    expect(await client.exists(STREAM)).toBe(0);
  });

  it('is a mark for longer than the slowest change of the base takes', async () => {
    class Slow extends Base {
      readonly slowestChange = 90_000;
      left = 0;
      override async delete(handle: string) {
        this.left = await client.pttl(`{sess:${BUCKET}}:m:${handle}`);
        return super.delete(handle);
      }
    }
    const base = new Slow(systemClock);
    const store = nodeOf(base);
    const { handle } = await hot(base, store);
    await store.delete(handle);
    expect(base.left).toBeGreaterThan(2 * 90_000 - 10_000);
  });
});

describe('a tier', () => {
  it('is asked again when it said nothing at all to the question whether it is back', async () => {
    let asked = 0;
    const ping = () => (++asked === 1 ? new Promise<void>(() => undefined) : Promise.resolve());
    const tier = new Tier({}, { name: 'it', ping, onTrouble: () => undefined });
    const fails = () => tier.ask(() => Promise.reject(new SessionStoreUnavailableError('gone')));
    for (let i = 0; i < 3; i++) await expect(fails()).rejects.toThrow('gone');
    expect(tier.isDown).toBe(true);
    await until('it is back', () => !tier.isDown);
    expect(asked).toBe(2);
    tier.close();
  });
});
