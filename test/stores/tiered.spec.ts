import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import {
  MemorySessionStore,
  SessionOptionsError,
  SessionStoreUnavailableError,
  type RedisClient,
} from 'nestjs-distributed-session';
import { tieredStore, type TieredStoreOptions } from 'nestjs-distributed-session/tiered';
import { systemClock } from '../../lib/core/clock.js';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import type { SessionIdentity } from '../../lib/core/session-identity.js';
import { encodeLive, nextVersion, versionOf } from '../../lib/core/session-record.js';
import { createRedis } from '../../lib/stores/redis/redis-client.js';
import { RedisHotCopies } from '../../lib/stores/redis/redis-hot-copies.js';
import * as scripts from '../../lib/stores/redis/redis-hot-scripts.js';
import { until } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisGate } from '../support/redis-gate.js';
import { RedisServer } from '../support/redis-server.js';

const HOUR = 3_600_000;
const PLACE = 'p:someone';
const newHandle = () => handleOf(newSessionId(0xa7));
const BEGAN = { createdAt: 1, absoluteEnd: 9e12, savedAt: 1 };
const identity = (roles: string[]): SessionIdentity => ({
  principal: 'alice',
  authenticatedAt: 1,
  roles,
  permissions: [],
  factors: {},
  claims: {},
});

/** A session as the library writes it. */
function valueOf(data: unknown, previous?: string, roles: string[] = []): string {
  const version = nextVersion(previous && versionOf(previous));
  const header = { ...BEGAN, identity: identity(roles) };
  return encodeLive(version, header, '', JSON.stringify(data));
}

let redis: RedisServer;
let client: Redis;
const opened = new Opened();

beforeAll(async () => {
  redis = await RedisServer.start(['--appendonly', 'yes', '--appendfsync', 'always']);
  client = redis.connect();
}, 60_000);
afterEach(opened.close);
afterAll(async () => {
  client.disconnect();
  await redis.stop();
});

/** A base that counts what it is asked, and can be out of reach. */
class Base extends MemorySessionStore {
  calls: string[] = [];
  isDown = false;

  static seen(): Base {
    const base = new Base(systemClock);
    return new Proxy(base, {
      get(target, name) {
        const verb: unknown = Reflect.get(target, name);
        if (typeof verb !== 'function') return verb;
        return (...args: unknown[]) => {
          base.calls.push(String(name));
          if (base.isDown) return Promise.reject(new SessionStoreUnavailableError('stopped'));
          return (verb as (...all: unknown[]) => unknown).apply(target, args);
        };
      },
      set: (target, name, value) => Reflect.set(target, name, value),
    });
  }
}

function nodeOf(base: Base, more: Partial<TieredStoreOptions> = {}) {
  return opened.add(tieredStore({ base, redis: redis.url, flushEvery: HOUR, ...more }));
}

/** A cold session: nobody has read it yet. */
async function stored(base: Base, data: unknown = { n: 0 }) {
  const handle = newHandle();
  const value = valueOf(data);
  const standing = { places: [PLACE], since: 1, life: 2 * HOUR };
  await base.create(handle, value, { ttl: HOUR, standing });
  base.calls.length = 0;
  return { handle, value };
}

async function scriptsRun(): Promise<number> {
  const info = await client.info('commandstats');
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(info)?.[1] ?? 0);
}

/** Scripts that Redis is asked for, and what the base is asked. */
async function costOf(base: Base, work: () => Promise<unknown>) {
  const before = await scriptsRun();
  base.calls.length = 0;
  await work();
  return { redis: (await scriptsRun()) - before, base: [...base.calls] };
}

const saved = (previous: string, ttl = HOUR) => ({ expected: versionOf(previous), ttl });

describe('what a verb asks for', () => {
  it('is what the guide says', async () => {
    const base = Base.seen();
    const [through, behind] = [nodeOf(base), nodeOf(base, { mode: 'write-behind' })];
    const { handle, value } = await stored(base);
    await through.load(handle);
    await through.settled();
    const second = valueOf({ n: 1 }, value);
    const third = valueOf({ n: 2 }, second);
    const cold = await stored(base);
    const costs = {
      hit: await costOf(base, () => through.load(handle)),
      miss: await costOf(base, async () => {
        await through.load(cold.handle);
        await through.settled();
      }),
      'hit with touch': await costOf(base, async () => {
        await (
          await through.load(handle, { touch: HOUR })
        )?.moving;
      }),
      save: await costOf(base, () => through.save(handle, second, saved(value))),
      'save behind': await costOf(base, () => behind.save(handle, third, saved(second))),
      touch: await costOf(base, async () => {
        await through.touch(handle, HOUR);
        await through.settled();
      }),
      create: await costOf(base, () => through.create(newHandle(), valueOf({}), { ttl: HOUR })),
      'delete, behind': await costOf(base, () => through.delete(handle)),
      endIn: await costOf(base, () => through.endIn('a7', PLACE)),
    };
    expect(costs).toEqual({
      hit: { redis: 1, base: [] },
      miss: { redis: 2, base: ['load'] },
      'hit with touch': { redis: 1, base: ['touch'] },
      save: { redis: 2, base: ['save'] },
      'save behind': { redis: 1, base: [] },
      touch: { redis: 1, base: ['touch'] },
      create: { redis: 0, base: ['create'] },
      'delete, behind': { redis: 2, base: ['bring', 'delete'] },
      endIn: { redis: 2, base: ['list', 'endIn'] },
    });
  });

  it('is one read of the base for fifty who ask at once', async () => {
    const base = Base.seen();
    const store = nodeOf(base);
    const { handle, value } = await stored(base);
    await store.load(newHandle());
    base.calls.length = 0;
    const found = await Promise.all(Array.from({ length: 50 }, () => store.load(handle)));
    expect(new Set(found.map((one) => one?.value))).toEqual(new Set([value]));
    expect(base.calls).toEqual(['load']);
  });
});

describe('idle windows', () => {
  it('are moved in both tiers: a Redis that forgets all ends nothing that was in use', async () => {
    const base = Base.seen();
    const store = nodeOf(base);
    const { handle, value } = await stored(base);
    await store.load(handle);
    await (
      await store.load(handle, { touch: 2 * HOUR })
    )?.moving;
    expect((await store.load(handle, { remaining: true }))?.remaining).toBeGreaterThan(HOUR);
    expect((await base.load(handle, { remaining: true }))?.remaining).toBeGreaterThan(HOUR);
    await client.flushall();
    const found = await store.load(handle, { remaining: true });
    expect(found?.value).toBe(value);
    expect(found?.remaining).toBeGreaterThan(HOUR);
  });

  it('end a copy that the base knows nothing of, when they are moved', async () => {
    const base = Base.seen();
    const store = nodeOf(base);
    const { handle } = await stored(base);
    await store.load(handle);
    await store.settled();
    await base.delete(handle);
    await (
      await store.load(handle, { touch: HOUR })
    )?.moving;
    expect(await store.load(handle)).toBeUndefined();
  });
});

describe('a node that loses Redis between the database and the copy', () => {
  it('leaves nothing that is older: others ask the database, until it is made up for', async () => {
    const base = Base.seen();
    const gate = await RedisGate.start(redis.port);
    const [one, other] = [nodeOf(base, { redis: gate.url }), nodeOf(base)];
    const { handle, value } = await stored(base);
    await one.load(handle);
    await one.settled();
    gate.cut(new RegExp(scripts.RELEASE.sha));
    const next = valueOf({ n: 1 }, value);
    expect(await one.save(handle, next, saved(value))).toEqual({ status: 'saved' });
    expect((await other.load(handle))?.value).toBe(next);
    gate.release();
    await client.unlink(...(await client.keys(`*:m:${handle}`)));
    expect((await other.load(handle))?.value).toBe(next);
    await one.close();
    opened.drop(one);
    await gate.stop();
  });

  it('has not logged out: tried again it has, in both', async () => {
    const base = Base.seen();
    const gate = await RedisGate.start(redis.port);
    const [one, other] = [nodeOf(base, { redis: gate.url }), nodeOf(base)];
    const { handle } = await stored(base);
    await one.load(handle);
    await one.settled();
    gate.cut(new RegExp(scripts.MARK.sha));
    await expect(one.delete(handle)).rejects.toThrow(SessionStoreUnavailableError);
    gate.release();
    await until('it is ended', () =>
      one.delete(handle).then(
        () => true,
        () => false,
      ),
    );
    expect(await other.load(handle)).toBeUndefined();
    expect(await base.load(handle)).toBeUndefined();
    await one.close();
    opened.drop(one);
    await gate.stop();
  });

  it('writes past it if it may, and drops the copy of others as soon as it can', async () => {
    const base = Base.seen();
    const gate = await RedisGate.start(redis.port);
    const how = { redis: gate.url, onHotFailure: 'bypass' } as const;
    const [one, strict, other] = [
      nodeOf(base, how),
      nodeOf(base, { redis: gate.url }),
      nodeOf(base),
    ];
    const { handle, value } = await stored(base);
    for (const store of [one, strict, other]) await store.load(handle);
    for (const store of [one, strict, other]) await store.settled();
    gate.cut(/./);
    const next = valueOf({ n: 1 }, value);
    await expect(strict.save(handle, next, saved(value))).rejects.toThrow(
      SessionStoreUnavailableError,
    );
    expect((await strict.load(handle))?.value).toBe(value);
    expect(await one.save(handle, next, saved(value))).toEqual({ status: 'saved' });
    expect((await one.load(handle))?.value).toBe(next);
    gate.release();
    await until('others see it', async () => (await other.load(handle))?.value === next);
    for (const store of [one, strict]) {
      await store.close();
      opened.drop(store);
    }
    await gate.stop();
  });
});

describe('a database that is out of reach', () => {
  it('leaves what is hot readable; nothing else is answered, and nothing is taken for ended', async () => {
    const base = Base.seen();
    const store = nodeOf(base);
    const [hot, cold] = [await stored(base), await stored(base)];
    await store.load(hot.handle);
    await store.settled();
    base.isDown = true;
    for (let i = 0; i < 4; i++) {
      expect((await store.load(hot.handle, { touch: HOUR }))?.value).toBe(hot.value);
      const failure = await store.load(cold.handle).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(SessionStoreUnavailableError);
      // The other tier does answer: a guard in front must not cut it off.
      expect((failure as SessionStoreUnavailableError).answered).toBe(true);
    }
    // By now it is known, and copies are not given up for what cannot be done.
    const next = valueOf({ n: 1 }, hot.value);
    await expect(store.save(hot.handle, next, saved(hot.value))).rejects.toThrow(/the database/);
    expect((await store.load(hot.handle))?.value).toBe(hot.value);
    // But for a logout: whoever asked for it is not served any more.
    await expect(store.delete(hot.handle)).rejects.toThrow(SessionStoreUnavailableError);
    await expect(store.load(hot.handle)).rejects.toThrow(SessionStoreUnavailableError);
    base.isDown = false;
    await until('it answers', () =>
      store
        .ping()
        .catch(() => false)
        .then((down) => down !== false),
    );
    await store.delete(hot.handle);
    expect(await store.load(hot.handle)).toBeUndefined();
    expect((await store.load(cold.handle))?.value).toBe(cold.value);
  });
});

describe('a Redis that comes back with what it had before', () => {
  it('is not believed: its copies are of another time', async () => {
    const base = Base.seen();
    const { handle, value } = await stored(base);
    const store = nodeOf(base);
    await store.load(handle);
    await store.settled();
    await redis.kill();
    const next = valueOf({ n: 1 }, value);
    await base.save(handle, next, saved(value));
    await redis.run();
    await until('Redis answers', () => client.ping().catch(() => false));
    expect(await client.keys(`*:c:${handle}`)).toHaveLength(1);
    await until('the node has it again', () =>
      store.ping().then(
        () => true,
        () => false,
      ),
    );
    expect((await store.load(handle))?.value).toBe(next);
  });
});

describe('what is written behind', () => {
  it('is brought by whoever is there, in one piece however often it was written', async () => {
    const base = Base.seen();
    const [one, other] = [
      nodeOf(base, { mode: 'write-behind' }),
      nodeOf(base, { mode: 'write-behind' }),
    ];
    const { handle, value } = await stored(base);
    await one.load(handle);
    let last = value;
    for (let n = 1; n <= 20; n++) {
      const next = valueOf({ n }, last);
      expect(await one.save(handle, next, saved(last))).toEqual({ status: 'saved' });
      last = next;
    }
    expect((await other.load(handle))?.value).toBe(last);
    expect((await base.load(handle))?.value).toBe(value);
    base.calls.length = 0;
    await other.flush();
    expect(base.calls.filter((verb) => verb === 'bring')).toHaveLength(1);
    expect((await base.load(handle))?.value).toBe(last);
    expect(await client.xlen('{sess:a7}:w')).toBe(0);
  });

  it('is taken over from a node that took it and was never heard of again', async () => {
    const base = Base.seen();
    const { handle, value } = await stored(base);
    const writer = nodeOf(base, { mode: 'write-behind' });
    await writer.load(handle);
    await writer.settled();
    await writer.save(handle, valueOf({ n: 1 }, value), saved(value));
    const options = {
      keyPrefix: 'sess',
      hotFor: HOUR,
      maxBehind: 9,
      takenFor: 0,
      printOf: () => undefined,
    };
    const [dead, next] = [0, 1].map(
      () => new RedisHotCopies(client as unknown as RedisClient, options),
    );
    expect((await dead!.take('a7', 10)).map((one) => one.handle)).toContain(handle);
    expect((await next!.take('a7', 10)).map((one) => one.handle)).toContain(handle);
  });

  it('is only what concerns nobody: rights and places are written through', async () => {
    const base = Base.seen();
    const store = nodeOf(base, { mode: 'write-behind' });
    const { handle, value } = await stored(base);
    await store.load(handle);
    await store.settled();
    const behind = valueOf({ n: 1 }, value);
    await store.save(handle, behind, saved(value));
    expect((await base.load(handle))?.value).toBe(value);
    const promoted = valueOf({ n: 1 }, behind, ['admin']);
    await store.save(handle, promoted, saved(behind));
    expect((await base.load(handle))?.value).toBe(promoted);
    const again = valueOf({ n: 2 }, promoted, ['admin']);
    await store.save(handle, again, { ...saved(promoted), confirm: true });
    expect((await base.load(handle))?.value).toBe(again);
    expect((await store.load(handle))?.value).toBe(again);
  });

  it('has a bound: beyond it the database has it before it is acknowledged', async () => {
    const base = Base.seen();
    const store = nodeOf(base, {
      mode: 'write-behind',
      maxBehind: 2 * 256,
      keyPrefix: randomUUID(),
    });
    const behind: boolean[] = [];
    for (let i = 0; i < 4; i++) {
      const { handle, value } = await stored(base);
      await store.load(handle);
      const next = valueOf({ n: 1 }, value);
      expect(await store.save(handle, next, saved(value))).toEqual({ status: 'saved' });
      behind.push((await base.load(handle))?.value === value);
    }
    expect(behind).toEqual([true, true, false, false]);
  });

  it('is lost with the memory of Redis, and no more: what had been brought stays', async () => {
    const base = Base.seen();
    const store = nodeOf(base, { mode: 'write-behind' });
    const { handle, value } = await stored(base);
    await store.load(handle);
    await store.settled();
    const brought = valueOf({ n: 1 }, value);
    await store.save(handle, brought, saved(value));
    await store.flush();
    await store.save(handle, valueOf({ n: 2 }, brought), saved(brought));
    await client.flushall();
    expect((await store.load(handle))?.value).toBe(brought);
  });
});

describe('a user of Redis', () => {
  it('needs no more rights than the guide says', async () => {
    const page = readFileSync(join(import.meta.dirname, '../../docs/tiered.md'), 'utf8');
    const line = /^redis-cli ACL SETUSER (\S+) on '>(\S+)' (.+)$/m.exec(page) ?? [];
    const [, username = '', password = '', rules = ''] = line;
    const words = rules.split(' ').map((word) => word.replaceAll("'", ''));
    const user = { username, password, rules: [`>${password}`, ...words] };
    const guarded = await RedisServer.start([], { user });
    const base = Base.seen();
    const store = tieredStore({ base, redis: guarded.url, mode: 'write-behind', hotFor: '1m' });
    const [one, other] = [await stored(base), await stored(base)];
    await store.load(one.handle);
    await store.settled();
    expect((await store.load(one.handle, { touch: HOUR }))?.value).toBe(one.value);
    const next = valueOf({ n: 1 }, one.value);
    await store.save(one.handle, next, saved(one.value));
    await store.flush();
    expect((await base.load(one.handle))?.value).toBe(next);
    await store.save(one.handle, valueOf({ n: 2 }, next, ['admin']), saved(next));
    await store.touch(one.handle, HOUR);
    await store.delete(one.handle);
    await store.load(other.handle);
    expect((await store.endIn('a7', PLACE)).ended).toBe(1);
    await store.ping();
    await store.close();
    // Fails if anything was refused.
    await guarded.stop();
  });
});

describe('tieredStore', () => {
  it('takes no duration that no timer knows, and no grace that is shorter than hotFor', () => {
    const base = Base.seen();
    const problemsOf = (more: Partial<TieredStoreOptions>): readonly string[] => {
      try {
        opened.add(tieredStore({ base, redis: redis.url, ...more }));
      } catch (error) {
        if (error instanceof SessionOptionsError) return error.problems;
      }
      return [];
    };
    expect(problemsOf({ flushEvery: '25d' })).toEqual([expect.stringMatching(/^flushEvery .*24d/)]);
    expect(problemsOf({ hotFor: '25d' }).map((one) => one.split(' ')[0])).toEqual([
      'hotFor',
      'outageGrace',
    ]);
    const short = { hotFor: '2h', outageGrace: '1h' } as const;
    expect(problemsOf(short)).toEqual([expect.stringMatching(/^outageGrace .*hotFor/)]);
    expect(problemsOf({ hotFor: '2h', flushEvery: '24d' })).toEqual([]);
  });

  it('says what is wrong with its options, each with a remedy', () => {
    const wrong = {
      base: { load: () => undefined },
      redis: '',
      mode: 'fast',
      hotFor: '1ms',
      flushEvery: 1,
      maxBehind: 0,
      keyPrefix: '{x}',
      onHotFailure: 'ignore',
    } as unknown as TieredStoreOptions;
    let problems: readonly string[] = [];
    try {
      tieredStore(wrong);
    } catch (error) {
      if (error instanceof SessionOptionsError) problems = error.problems;
    }
    const named = ['base', 'redis', 'mode', 'onHotFailure', 'maxBehind', 'keyPrefix'];
    expect(problems.map((one) => one.split(' ')[0])).toEqual([...named, 'hotFor', 'flushEvery']);
  });

  it('takes a client, and does not close it', async () => {
    const mine = createRedis(redis.url);
    await mine.connect();
    const base = Base.seen();
    const store = tieredStore({ base, redis: mine as unknown as RedisClient });
    const { handle, value } = await stored(base);
    expect((await store.load(handle))?.value).toBe(value);
    await store.close();
    expect(await mine.ping()).toBe('PONG');
    mine.disconnect();
  });
});
