import { afterEach, describe, expect, it } from '@jest/globals';
import { Injectable } from '@nestjs/common';
import { setTimeout as delay } from 'node:timers/promises';
import {
  OnSessionEvent,
  SessionEvents,
  SessionService,
  type SessionEvent,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { inParallel, Latch, until, type TestApp } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisGates } from '../support/redis-gates.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, TOPOLOGY, type RedisUnderTest } from '../support/redis-under-test.js';

/** With `EXPIRIES=100000` as many as the whole claim says. */
const EXPIRIES = Number(process.env.EXPIRIES ?? 20_000);

/** What handlers of one application were called with; where a test keeps them waiting. */
class Calls {
  readonly once: SessionEvent[] = [];
  latch: Latch | undefined;
  fails = 0;
}

const handlesOf = (all: readonly { readonly handle: string | undefined }[]) =>
  new Set(all.map(({ handle }) => handle));

const handlersOf = (calls: Calls) => {
  @Injectable()
  class Handlers {
    @OnSessionEvent(['expired', 'revoked'], { once: 'cluster' })
    async once(event: SessionEvent) {
      calls.once.push(event);
      if (calls.fails-- > 0) throw new Error('the mail server is away');
      await calls.latch?.wait();
    }
  }
  return Handlers;
};

describe('sessions that end by time', () => {
  const opened = new Opened();
  afterEach(opened.close, 60_000);

  const begin = async () => {
    const redis = await startRedis();
    opened.add({ close: () => redis.stop() });
    const probe = await RedisProbe.start(redis);
    opened.add({ close: () => probe.stop() });
    return { redis, probe };
  };
  const open = async (
    redis: Pick<RedisUnderTest, 'connection'>,
    calls: Calls,
    session: SessionModuleOptions = {},
  ): Promise<TestApp> =>
    opened.app({
      adapter: 'fastify',
      session: {
        redis: redis.connection(),
        idleTimeout: 1_000,
        events: { sweepEvery: 100 },
        ...session,
      },
      providers: [handlersOf(calls)],
    });

  it('are told of once, by whatever node, and nothing of them stays', async () => {
    const { redis, probe } = await begin();
    const calls = [new Calls(), new Calls()];
    const apps = [await open(redis, calls[0]!), await open(redis, calls[1]!)];
    const sessions = apps[0]!.app.get(SessionService);
    const made = await inParallel(100, 20, (i) => sessions.create({ principal: `user-${i}` }));
    const heard = () => calls.flatMap(({ once }) => once);
    await until('all ends', () => heard().length >= 100, { within: 10_000 });
    await delay(500);
    expect(heard()).toHaveLength(100);
    expect(handlesOf(heard())).toEqual(handlesOf(made));
    // One node does the work.
    expect(calls.map(({ once }) => once.length).toSorted((a, b) => a - b)).toEqual([0, 100]);
    expect(await probe.keys('*:[xn]')).toEqual([]);
  });

  it('are not told of while they are used, and when they were dropped by Redis they are', async () => {
    const { redis, probe } = await begin();
    const calls = new Calls();
    const { app } = await open(redis, calls, { touchAfter: 0 });
    const sessions = app.get(SessionService);
    const used = await sessions.create({ principal: 'alice' });
    const dropped = await sessions.create({ principal: 'bob' });
    for (const key of await probe.keys(`*:s:${dropped.handle}`)) {
      await probe.client.del(key);
    }
    for (let i = 0; i < 8; i++) {
      await delay(300);
      expect(await sessions.touch(used.handle)).toBe(true);
    }
    expect(calls.once.map(({ handle }) => handle)).toEqual([dropped.handle]);
    await until('the end', () => calls.once.length === 2);
    expect(calls.once[1]).toMatchObject({ handle: used.handle, principal: 'alice' });
  });

  it('are told of with what a handler that failed did not do, up to five times', async () => {
    const { redis } = await begin();
    const calls = new Calls();
    calls.fails = 2;
    const { app, logger } = await open(redis, calls);
    const sessions = app.get(SessionService);
    const { handle } = await sessions.create();
    await sessions.revoke(handle);
    await until('three calls', () => calls.once.length === 3);
    await delay(500);
    expect(new Set(calls.once.map(({ id }) => id)).size).toBe(1);
    expect(calls.once).toHaveLength(3);

    calls.fails = Infinity;
    calls.once.length = 0;
    await sessions.revoke((await sessions.create()).handle);
    await until('it is given up', () =>
      logger.texts('error').some((t) => /not called again/.test(t)),
    );
    expect(calls.once).toHaveLength(5);
    // It does not hold up what comes after.
    calls.fails = 0;
    await sessions.revoke((await sessions.create()).handle);
    await until('the next', () => calls.once.length === 6);
  });

  it('are handled by another node where one dies between handling and saying so', async () => {
    const { redis } = await begin();
    const gates = await RedisGates.start(redis);
    opened.add({ close: () => gates.stop() });
    const [first, second] = [new Calls(), new Calls()];
    first.latch = new Latch();
    const dying = await open({ connection: () => gates.connection }, first);
    const { handle } = await dying.app.get(SessionService).create({ principal: 'alice' });
    await first.latch.reached;
    const other = await open(redis, second);
    const more = await other.app.get(SessionService).create({ principal: 'bob' });
    gates.cut(/./);
    first.latch.open();
    await until('the other handles both', () => second.once.length >= 2, { within: 20_000 });
    expect(handlesOf(second.once)).toEqual(new Set([handle, more.handle]));
    expect(second.once.find((one) => one.handle === handle)?.id).toBe(first.once[0]?.id);
    gates.release();
  }, 60_000);

  // Serves little in others, and takes long.
  const many = TOPOLOGY === 'standalone' || TOPOLOGY === 'cluster' ? describe : describe.skip;
  many('many of them', () => {
    it(`${EXPIRIES} that end within 10 seconds, 5 of which no node is there for`, async () => {
      const { redis, probe } = await begin();
      const maker = await open(redis, new Calls(), { idleTimeout: '1h', events: true });
      const handles = await inParallel(EXPIRIES, 200, async (i) => {
        const sessions = maker.app.get(SessionService);
        return (await sessions.create({ principal: `user-${i % 1_000}` })).handle;
      });
      await maker.close();
      opened.drop(maker);

      // They end from one second on, spread over ten.
      const begun = performance.now();
      await probe.endOver(handles, 1_000, 11_000);
      const calls = new Calls();
      const before = await open(redis, calls, { events: true });
      await delay(Math.max(0, 3_000 - (performance.now() - begun)));
      await before.close();
      opened.drop(before);
      await delay(5_000);

      const { app } = await open(redis, calls, { events: { sweepEvery: 200 } });
      const times: number[] = [];
      const client = probe.client.duplicate();
      opened.add({ close: () => client.disconnect() });
      const distinct = () => new Set(calls.once.map(({ handle }) => handle)).size;
      while (distinct() < EXPIRIES && performance.now() - begun < 120_000) {
        for (let i = 0; i < 20; i++) {
          const asked = performance.now();
          await client.get(`{sess:${(handles[i] as string).slice(0, 2)}}:s:none`);
          times.push(performance.now() - asked);
          await delay(2);
        }
      }
      const took = performance.now() - begun;
      expect(distinct()).toBe(EXPIRIES);
      expect(new Set(calls.once.map(({ handle }) => handle))).toEqual(new Set(handles));
      const ids = new Set(calls.once.map(({ id }) => id));
      expect(ids.size).toBe(EXPIRIES);
      const p99 = times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)] as number;
      expect(p99).toBeLessThan(100);
      expect(app.get(SessionEvents).on).toBe(true);
      process.stdout.write(
        `${EXPIRIES} ends handled ${Math.round(took - 11_000)} ms after the last, ${calls.once.length - EXPIRIES} of them twice; p99 of a GET meanwhile ${p99.toFixed(1)} ms\n`,
      );
    }, 300_000);
  });
});
