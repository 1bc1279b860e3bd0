import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { SessionStoreUnavailableError } from '../../lib/core/session.errors.js';
import type { RedisClient } from '../../lib/stores/redis/redis-client.js';
import { RedisSessionStore } from '../../lib/stores/redis/redis-session.store.js';
import { ServerClock } from '../../lib/stores/redis/server-clock.js';
import { RedisGate } from '../support/redis-gate.js';
import { RedisServer } from '../support/redis-server.js';
import { until } from '../support/app.js';

const handleOf = (letter: string) => `0a${letter.repeat(43)}`;
const valueOf = (n: number) => `0000000${n}nonce${n}1`;
const versionOf = (value: string) => value.slice(0, 14);

describe('a clock of a server', () => {
  it('is asked in the background, and tells nothing until it is known', async () => {
    let asked = 0;
    const clock = new ServerClock({
      time: async () => {
        asked++;
        return [['1000', '500000']];
      },
    });
    expect(clock.at(performance.now())).toBe('');
    await clock.learn();
    const moment = performance.now();
    expect(clock.at(moment + 500)).toBeGreaterThanOrEqual(1_000_500 + 500);
    expect(clock.at(moment + 500)).toBeLessThan(1_000_500 + 500 + 1_000);
    expect(asked).toBe(1);
  });

  it('of several counts the one that is ahead: nothing is late too early', async () => {
    const clock = new ServerClock({
      time: async () => [
        ['1000', 0],
        ['1007', 0],
        ['990', 0],
      ],
    });
    await clock.learn();
    expect(clock.at(performance.now())).toBeGreaterThanOrEqual(1_007_000);
  });

  it('stays known while nobody answers', async () => {
    let answers = true;
    const clock = new ServerClock({
      time: async () => {
        if (!answers) throw new SessionStoreUnavailableError('timeout');
        return [['1000', 0]];
      },
    });
    await clock.learn();
    answers = false;
    await clock.learn();
    expect(clock.at(performance.now())).toBeGreaterThanOrEqual(1_000_000);
  });

  it('that is not told is not known', async () => {
    const clock = new ServerClock({ time: () => Promise.reject(new Error('NOPERM')) });
    await clock.learn();
    expect(clock.at(performance.now())).toBe('');
  });
});

describe('a write that comes too late', () => {
  const clients: Redis[] = [];
  let server: RedisServer;
  let gate: RedisGate;

  beforeAll(async () => {
    server = await RedisServer.start();
    gate = await RedisGate.start(server.port);
  });

  afterEach(() => {
    gate.release();
    for (const client of clients.splice(0)) client.disconnect();
  });

  afterAll(async () => {
    await gate?.stop();
    await server?.stop();
  });

  const connect = (port: number, options: object = {}): Redis => {
    const client = new Redis(port, '127.0.0.1', options);
    client.on('error', () => undefined);
    clients.push(client);
    return client;
  };

  const open = async (client: Redis) => {
    const store = new RedisSessionStore(client as unknown as RedisClient);
    await store.prepare();
    return store;
  };

  const place = 'p:someone';
  const standing = { places: [place], since: 1, life: 60_000 };
  const created = { ttl: 60_000, standing };

  it.each<[string, (store: RedisSessionStore) => Promise<unknown>]>([
    ['create', (store) => store.create(handleOf('b'), valueOf(1), created)],
    [
      'admit',
      (store) => {
        const limit = {
          place,
          max: 1,
          onLimit: 'retire-oldest' as const,
          idleTimeout: 60_000,
          lastingIdleTimeout: 60_000,
        };
        return store.admit(handleOf('b'), valueOf(1), { ...created, limit });
      },
    ],
    [
      'save',
      (store) => store.save(handleOf('a'), valueOf(2), { expected: versionOf(valueOf(1)), ttl: 1 }),
    ],
    [
      'save that moves',
      (store) =>
        store.save(handleOf('a'), valueOf(2), {
          expected: versionOf(valueOf(1)),
          leaves: [place],
        }),
    ],
    [
      'replace',
      (store) =>
        store.replace(handleOf('a'), valueOf(2), {
          expected: versionOf(valueOf(1)),
          ttl: 60_000,
          leaves: [place],
          next: { handle: handleOf('c'), value: valueOf(3), ttl: 60_000, standing },
        }),
    ],
    ['endIn', (store) => store.endIn('0a', place)],
  ])('does nothing: %s', async (_, write) => {
    const admin = connect(server.port);
    await admin.flushall();
    const beside = await open(admin);
    await beside.create(handleOf('a'), valueOf(1), created);
    const store = await open(connect(gate.port));
    const before = await admin.keys('*');

    gate.hold(/eval/i);
    await expect(write(store)).rejects.toMatchObject({ reason: 'timeout' });
    gate.release();
    // What is answered after it was carried out after it.
    await until('it has arrived', async () => (await store.load(handleOf('a'))) !== undefined);
    expect(await admin.keys('*')).toEqual(before);
    expect((await beside.load(handleOf('a')))?.value).toBe(valueOf(1));
    expect(await beside.countIn('0a', place)).toBe(1);
  });

  it('is none because a clock was set: it is measured anew', async () => {
    const client = connect(server.port);
    let lies = 1;
    const lying = new Proxy(client, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (name === 'time' && lies-- > 0) return async () => [1_000_000, 0];
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const store = await open(lying);
    expect(await store.create(handleOf('d'), valueOf(1), { ttl: 60_000 })).toBe(true);
    expect(await store.create(handleOf('e'), valueOf(1), { ttl: 60_000 })).toBe(true);
  });

  it('is carried out by a server that does not tell the time to this user', async () => {
    const admin = connect(server.port);
    await admin.call('ACL', 'SETUSER', 'timeless', 'on', '>secret', '~*', '+@all', '-time');
    const client = connect(server.port, { username: 'timeless', password: 'secret' });
    const store = await open(client);
    expect(await store.create(handleOf('f'), valueOf(1), { ttl: 60_000 })).toBe(true);
    await admin.call('ACL', 'DELUSER', 'timeless');
  });
});
