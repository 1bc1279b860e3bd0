import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { setTimeout as pause } from 'node:timers/promises';
import type { SessionModuleOptions } from 'nestjs-distributed-session';
import { until, type TestApp } from '../support/app.js';
import { atMost } from '../support/fault-record.js';
import { FaultProxy } from '../support/fault-proxy.js';
import { openHandles } from '../support/fault-stage.js';
import type { HttpClient } from '../support/http-client.js';
import { areLive, changesDuring, figuresOf, nearApp } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { RedisGate } from '../support/redis-gate.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';

/** How long something may be out of date, in milliseconds, while changes are told. */
const TOLD = atMost(100);

describe('what a near cache does beside requests', () => {
  const opened = new Opened();
  let redis: RedisServer;
  let admin: Redis;

  const boot = async (from: SessionModuleOptions['redis'], more: SessionModuleOptions = {}) => {
    const app = await opened.app(nearApp(from, more));
    await areLive([app]);
    return app;
  };
  const logIn = async (app: TestApp) => {
    const browser = opened.browser(app);
    await browser.post('/login/alice');
    await isCopied(app, browser);
    return browser;
  };
  const isCopied = async (app: TestApp, browser: HttpClient) => {
    const { hits } = figuresOf(app);
    await until('a copy is served', async () => {
      await browser.get('/me');
      return figuresOf(app).hits > hits;
    });
  };
  const connections = async () =>
    String(await admin.client('LIST'))
      .trim()
      .split('\n').length;

  beforeEach(async () => {
    redis = await RedisServer.start();
    admin = redis.connect({ retryStrategy: () => 20 });
  });

  afterEach(async () => {
    await opened.close();
    admin.disconnect();
    await redis.stop();
  });

  it('moves the idle window on a hit with one command, and lets nobody wait for it', async () => {
    const gate = await RedisGate.start(redis.port);
    const app = await boot(gate.url, { touchAfter: 0 });
    const browser = await logIn(app);
    const probe = await RedisProbe.start(redis);
    const commands = await probe.commandsDuring(async () => {
      expect((await browser.get('/me')).status).toBe(200);
      await pause(50);
    });
    expect(commands.filter(({ name }) => name !== 'ping').map(({ name }) => name)).toEqual([
      'evalsha',
    ]);

    const { hits } = figuresOf(app);
    gate.hold(/evalsha/i);
    const answer = browser.get('/me').then(({ status }) => status);
    expect(await answer).toBe(200);
    await until('the touch is under way', () => gate.holds);
    expect(figuresOf(app).hits).toBe(hits + 1);
    gate.release();

    await areLive([app]);
    await isCopied(app, browser);
    const { flushes } = figuresOf(app);
    gate.cut(/evalsha/i);
    expect((await browser.get('/me')).status).toBe(200);
    await until('it has failed', () => figuresOf(app).flushes > flushes);
    gate.release();
    await areLive([app]);
    await isCopied(app, browser);
    await probe.stop();
    opened.add({ close: () => gate.stop() });
  });

  it('is apart in each of two applications that share a client, and each hears of the other', async () => {
    const client = redis.connect();
    await client.ping();
    const before = await connections();
    const nodes = [await boot(client), await boot({ client })];
    const writer = await logIn(nodes[0]!);
    const reader = opened.browser(nodes[1]!, writer.jar);
    const there = await changesDuring(writer, reader, () => pause(300));
    const back = await changesDuring(
      opened.browser(nodes[1]!, reader.jar),
      opened.browser(nodes[0]!, writer.jar),
      () => pause(300),
    );
    for (const { stale, reads } of [there, back]) {
      expect(stale).toBeLessThan(TOLD);
      expect(reads).toEqual({ 200: expect.any(Number) });
    }
    expect(figuresOf(nodes[0]!).invalidations).toBeGreaterThan(5);
    expect(figuresOf(nodes[1]!).invalidations).toBeGreaterThan(5);
    // A command of the application over its own client is one of somebody else.
    await isCopied(nodes[0]!, writer);
    await client.flushall();
    await until(
      'they are out',
      async () => (await writer.another(writer.jar).get('/me')).status === 401,
    );
    await opened.close();
    expect(client.status).toBe('ready');
    await until('only what was there before is open', async () => (await connections()) === before);
    client.disconnect();
  });

  it.each(['in use', 'of which nothing is heard', 'that is gone'])(
    'ends with the application, and leaves nothing open at a Redis %s',
    async (how) => {
      const proxy = await FaultProxy.start(redis.port);
      await pause(100);
      const [before, handles] = [await connections(), openHandles()];
      const app = await boot(proxy.url);
      await logIn(app);
      expect(await connections()).toBe(before + 2);
      if (how === 'that is gone') await proxy.stop();
      if (how === 'of which nothing is heard') proxy.stall();
      if (how !== 'in use') await until('it is noticed', () => !figuresOf(app).live);
      const since = performance.now();
      await opened.close();
      expect(performance.now() - since).toBeLessThan(atMost(1_500));
      if (how === 'of which nothing is heard') proxy.calm();
      const left = how === 'that is gone' ? handles - 1 : handles;
      await until(
        'all is closed',
        async () => openHandles() <= left && (await connections()) === before,
      );
      if (how !== 'that is gone') await proxy.stop();
    },
  );

  it('begins when Redis is there, where the application began without it', async () => {
    await redis.kill();
    const app = await opened.app(nearApp(redis.url, { bootWithoutStore: true }));
    expect(figuresOf(app).live).toBe(false);
    expect((await opened.browser(app).post('/login/alice')).status).toBe(503);
    await redis.run();
    expect(await areLive([app])).toBeLessThan(atMost(1_500));
    expect(app.logger.texts('warn').filter((one) => one.includes('nearCache'))).toEqual([]);
    await logIn(app);
  });
});
