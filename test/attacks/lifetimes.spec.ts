import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, HttpCode, Post } from '@nestjs/common';
import { RequireSession, Session, type SessionModuleOptions } from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, inParallel, SECRET } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis } from '../support/redis-under-test.js';
import { itInRedis } from '../support/store-under-test.js';

const COOKIE = '__Host-session';

@Controller()
class Office {
  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('alice');
  }

  @RequireSession() @Get('me') me(@Session() { expiresAt }: Session) {
    return { expiresAt };
  }

  @Post('work') @HttpCode(200) work(@Session() session: Session) {
    return { done: session.increment('done') };
  }

  @Post('renew') @HttpCode(200) async renew(@Session() session: Session) {
    await session.regenerate();
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }
}

describe.each(ADAPTERS)('how long a session may be used on %s', (adapter) => {
  let clock: FakeClock;
  const opened = new Opened();

  const start = (session: SessionModuleOptions = {}) =>
    opened.app({
      adapter,
      controllers: [Office],
      session: { store: 'memory', clock, secret: SECRET, ...session },
    });
  const device = async (app: Awaited<ReturnType<typeof start>>): Promise<HttpClient> => {
    const client = opened.browser(app);
    expect((await client.post('/login')).status).toBe(200);
    return client;
  };
  const isIn = async (client: HttpClient) => (await client.get('/me')).status === 200;

  beforeEach(() => {
    clock = new FakeClock();
  });

  afterEach(opened.close);

  it('7.1.1: both timeouts always exist, and one line at boot tells them', async () => {
    const all: SessionModuleOptions[] = [
      {},
      { preset: 'aal3' },
      { idleTimeout: '5m', absoluteTimeout: '1h' },
    ];
    const told = [];
    for (const options of all) {
      const { logger } = await start(options);
      told.push(logger.texts('log').filter((line) => line.includes('Sessions in')));
    }
    expect(told).toEqual([
      [expect.stringMatching(/30m idle or 1d in all/)],
      [expect.stringMatching(/15m idle or 12h in all/)],
      [expect.stringMatching(/5m idle or 1h in all/)],
    ]);
    for (const idleTimeout of [0, Infinity, NaN, -1, '', null] as never[]) {
      await expect(start({ idleTimeout })).rejects.toThrow('idleTimeout');
      await expect(start({ absoluteTimeout: idleTimeout })).rejects.toThrow('absoluteTimeout');
    }
    const shorter = { idleTimeout: '2h', absoluteTimeout: '1h' } as const;
    await expect(start(shorter)).rejects.toThrow('is shorter than idleTimeout');
  });

  it('7.3.1: a session that is not used ends, and the exact cookie is worth nothing', async () => {
    const app = await start({ idleTimeout: '10m' });
    const [used, unused] = [await device(app), await device(app)];
    const jar = new Map(unused.jar);
    for (let i = 0; i < 3; i++) {
      clock.advance('4m');
      expect(await isIn(used)).toBe(true);
    }
    expect(await isIn(unused)).toBe(false);
    expect(unused.jar.has(COOKIE)).toBe(false);
    expect(await isIn(opened.browser(app, jar))).toBe(false);
    clock.advance('9m');
    expect(await isIn(used)).toBe(true);
    clock.advance('10m');
    expect(await isIn(used)).toBe(false);
  });

  it('7.3.2: a session ends however much it is used, and only a login begins it anew', async () => {
    const app = await start({ idleTimeout: '10m', absoluteTimeout: '1h' });
    const client = await device(app);
    const use = async (minutes: number) => {
      for (let minute = 0; minute < minutes; minute += 5) {
        clock.advance('5m');
        expect((await client.post('/work')).status).toBe(200);
        await client.post('/renew');
        expect(await isIn(client)).toBe(true);
      }
    };
    await use(55);
    expect((await client.post('/login')).status).toBe(200);
    await use(55);
    const jar = new Map(client.jar);
    clock.advance('5m');
    expect(await isIn(client)).toBe(false);
    expect(await isIn(opened.browser(app, jar))).toBe(false);
  });

  it('7.2.3: ids are drawn from 255 random bits, and none comes twice', async () => {
    const app = await start({ store: undefined, secret: undefined });
    const client = opened.browser(app);
    const ids = await inParallel(2_000, 50, async () => {
      const stranger = client.another();
      await stranger.post('/work');
      return stranger.jar.get(COOKIE) as string;
    });
    expect(new Set(ids).size).toBe(ids.length);
    const bytes = ids.map((id) => Buffer.from(id, 'base64url'));
    expect(new Set(bytes.map(({ length }) => length))).toEqual(new Set([33]));
    for (let bit = 0; bit < 33 * 8; bit++) {
      const ones = bytes.filter((id) => (id[bit >> 3]! >> (7 - (bit & 7))) & 1).length;
      // The one that tells a lasting session; all others are one half of the time, within 6 standard deviations.
      if (bit === 8) expect(ones).toBe(0);
      else expect(Math.abs(ones - 1_000)).toBeLessThan(6 * Math.sqrt(500));
    }
  });

  itInRedis('nothing is in Redis without an end, whatever happens to a session', async () => {
    const redis = await startRedis();
    opened.add({ close: () => redis.stop() });
    const probe = await RedisProbe.start(redis);
    opened.add({ close: () => probe.stop() });
    const session = { redis: redis.connection(), secret: SECRET };
    const app = await opened.app({ adapter, controllers: [Office], session });
    const client = opened.browser(app);
    const seen = new Set<string>();
    const check = async () => {
      for (const key of await probe.keys('*')) {
        // Of a Cluster only one has it; -1 is a key without an end.
        const ends = await Promise.all(probe.nodes.map((one) => one.pttl(key).catch(() => -2)));
        expect([key, ends]).not.toEqual([key, expect.arrayContaining([-1])]);
        seen.add(key.replace(/[\w-]{43,}/g, '…'));
      }
    };
    for (const path of ['/work', '/login', '/work', '/renew', '/login', '/logout', '/work']) {
      await Promise.all([client.post(path), client.post('/work'), client.get('/me')]);
      await check();
    }
    expect(seen.size).toBeGreaterThan(1);
  });
});
