import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { setTimeout as pause } from 'node:timers/promises';
import type { SessionModuleOptions } from 'nestjs-distributed-session';
import { until, type TestApp } from '../support/app.js';
import { atMost } from '../support/fault-record.js';
import type { HttpClient } from '../support/http-client.js';
import { LinkProxy, type LinkKind } from '../support/link-proxy.js';
import { areLive, changesDuring, figuresOf, nearApp } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';

/** How long something may be out of date, in milliseconds, while changes are told. */
const TOLD = atMost(100);
/** And where they are not, until that is noticed: asked for every second, and waited for 1.5 seconds. */
const NOTICED = 3_500;

/** What is written outlives the process. */
const ARGS = '--appendonly yes --appendfsync no --enable-debug-command yes'.split(' ');

describe('copies on two nodes', () => {
  const opened = new Opened();
  let redis: RedisServer;
  let proxy: LinkProxy;
  let admin: Redis;
  let nodes: TestApp[];
  let writer: HttpClient;
  let reader: HttpClient;

  /** The second node comes by the proxy. */
  const boot = async (more: SessionModuleOptions = {}) => {
    nodes = [
      await opened.app(nearApp({ url: redis.url, connectionName: 'one' }, more)),
      await opened.app(nearApp({ url: proxy.url, connectionName: 'two' }, more)),
    ];
    await areLive(nodes);
    await logIn();
  };
  const logIn = async () => {
    writer = opened.browser(nodes[0]!);
    await writer.post('/login/alice');
    await writer.post('/note');
    reader = opened.browser(nodes[1]!, writer.jar);
    await isCopied();
  };
  const isCopied = async (by = reader, node = nodes[1]!) => {
    const { hits } = figuresOf(node);
    await until('a copy is served', async () => {
      const { status } = await by.get('/me');
      return status === 200 && figuresOf(node).hits > hits;
    });
  };
  /** Of the second node: what hears, and what is asked. */
  const connections = async () => {
    const lines = String(await admin.client('LIST')).split('\n');
    const its = lines.filter((line) => line.includes(' name=two '));
    const idOf = (part: RegExp) => /^id=(\d+)/.exec(its.find((one) => part.test(one)) ?? '')?.[1];
    return { ear: idOf(/ sub=1 /), data: idOf(/ flags=\w*t/) };
  };

  beforeEach(async () => {
    redis = await RedisServer.start(ARGS);
    proxy = await LinkProxy.start(redis.port);
    admin = redis.connect({ retryStrategy: () => 20 });
  });

  afterEach(async () => {
    redis.signal('SIGCONT');
    await opened.close();
    admin.disconnect();
    await proxy.stop();
    await redis.stop();
  }, 30_000);

  it.each(['ear', 'data', 'ear and data'])(
    'are as young as ever while the connection of %s is killed again and again, and are kept again',
    async (which) => {
      await boot();
      const { flushes } = figuresOf(nodes[1]!);
      const kill = async () => {
        const found = await connections();
        for (const one of which.split(' and ') as LinkKind[]) {
          expect(await admin.call('CLIENT', 'KILL', 'ID', found[one]!)).toBe(1);
        }
        await until('it is noticed', () => !figuresOf(nodes[1]!).live);
        await areLive(nodes, 3_000);
      };
      const seen = await changesDuring(writer, reader, async () => {
        for (let i = 0; i < 10; i++) await kill();
      });
      expect(seen.stale).toBeLessThan(TOLD);
      expect(seen.writes).toEqual({ 200: expect.any(Number) });
      expect(figuresOf(nodes[1]!).flushes).toBeGreaterThanOrEqual(flushes + 10);
      await isCopied();
      const after = await changesDuring(writer, reader, () => pause(300));
      expect(after).toMatchObject({ reads: { 200: expect.any(Number) } });
      expect(after.stale).toBeLessThan(TOLD);
    },
  );

  it.each(['ear', 'data'] as const)(
    'are out of date no longer than it takes to notice that the link of the %s is open at one end only',
    async (which) => {
      await boot();
      const seen = await changesDuring(writer, reader, async () => {
        await pause(100);
        proxy.swallow(which);
        await until('it is noticed', () => !figuresOf(nodes[1]!).live);
        await areLive(nodes);
        await isCopied();
      });
      // What is asked for is not there, but what has changed is told.
      if (which === 'data') expect(seen.stale).toBeLessThan(TOLD);
      else {
        expect(seen.stale).toBeGreaterThan(500);
        expect(seen.stale).toBeLessThan(NOTICED);
        expect(seen.reads).toEqual({ 200: expect.any(Number) });
      }
      const after = await changesDuring(writer, reader, () => pause(300));
      expect(after.stale).toBeLessThan(TOLD);
    },
  );

  it('are never older than they may be, whatever is not noticed yet', async () => {
    await boot({ nearCache: { maxAge: 300 } });
    const seen = await changesDuring(writer, reader, async () => {
      await pause(100);
      proxy.swallow('ear');
      await pause(900);
    });
    expect(seen.stale).toBeGreaterThan(100);
    expect(seen.stale).toBeLessThan(300 + TOLD);
    expect(figuresOf(nodes[1]!).servedAge.max).toBeLessThanOrEqual(300);
  });

  it.each(['FLUSHALL', 'FLUSHDB'])('are gone with all sessions by %s', async (command) => {
    await boot();
    const others = await Promise.all(
      ['bob', 'carol', 'dave'].map(async (name) => {
        const browser = opened.browser(nodes[0]!);
        await browser.post(`/login/${name}`);
        const same = opened.browser(nodes[1]!, browser.jar);
        await isCopied(same);
        return same;
      }),
    );
    await admin.call(command);
    const since = performance.now();
    const all = [reader, ...others];
    await until('nobody is logged in', async () => {
      const answers = await Promise.all(all.map((one) => one.another(one.jar).get('/me')));
      return answers.every(({ status }) => status === 401);
    });
    expect(performance.now() - since).toBeLessThan(TOLD);
    expect(nodes.map((node) => figuresOf(node).entries)).toEqual([0, 0]);
    await logIn();
  });

  it.each(['killed', 'frozen'])(
    'are not served while Redis is %s, nor is anything else without leave',
    async (how) => {
      await boot();
      await isCopied();
      await (how === 'killed' ? redis.kill() : redis.signal('SIGSTOP'));
      const since = performance.now();
      await until('it is refused', async () => (await reader.get('/me')).status === 503);
      // Whoever has asked just then waits for as long as a command may take.
      expect(performance.now() - since).toBeLessThan(how === 'killed' ? 500 + TOLD : NOTICED);
      const signs = Array.from({ length: 20 }, () => reader.get('/me'));
      expect(new Set((await Promise.all(signs)).map(({ status }) => status))).toEqual(
        new Set([503]),
      );
      if (how === 'killed') await redis.run();
      else redis.signal('SIGCONT');
      expect(await areLive(nodes)).toBeLessThan(atMost(2_000));
      // A server that was started anew has forgotten its scripts.
      const after = await changesDuring(writer, reader, () => pause(300));
      expect(after.writes[200]).toBeGreaterThan(0);
      expect(after.reads[200]).toBeGreaterThan(0);
      expect(after.stale).toBeLessThan(TOLD);
      await isCopied();
    },
  );

  it('leave it to the policy what is served in an outage: `stale`, to be read, and for its time', async () => {
    const staleFor = 1_500;
    await boot({ onStoreFailure: 'stale', staleFor });
    await isCopied();
    const asked = performance.now();
    await redis.kill();
    await until('it is told', async () => (await reader.get('/me')).json.outage === 'stale');
    expect((await reader.get('/me')).json).toEqual({ note: 1, outage: 'stale' });
    expect((await reader.post('/note')).status).toBe(503);
    await until('it is too old', async () => (await reader.get('/me')).status === 503);
    expect(performance.now() - asked).toBeLessThan(staleFor + 1_000);
    await redis.run();
    await areLive(nodes);
    await isCopied();
    expect((await reader.get('/me')).json).toEqual({ note: 1, outage: null });
  });

  it('are not served beyond the idle end, and beyond what another node has moved it to', async () => {
    await boot({ idleTimeout: 1_500, touchAfter: 200 });
    const since = performance.now();
    while (performance.now() - since < 2_500) {
      expect((await writer.get('/me')).status).toBe(200);
      await pause(150);
    }
    expect((await reader.get('/me')).status).toBe(200);
    // Redis tells of an end when it notices it: that is up to who reads.
    await admin.call('DEBUG', 'SET-ACTIVE-EXPIRE', '0');
    expect(figuresOf(nodes[1]!).entries).toBe(1);
    await pause(1_500 + 50);
    expect(figuresOf(nodes[1]!).entries).toBe(1);
    for (const one of [reader, writer]) expect((await one.get('/me')).status).toBe(401);
  });

  it('are gone with what Redis evicts or an operator deletes', async () => {
    await boot();
    const keys = await admin.keys('*:s:*');
    await admin.config('SET', 'maxmemory-policy', 'allkeys-random');
    await admin.config('SET', 'maxmemory', '1');
    await admin.ping();
    const since = performance.now();
    expect(keys.length).toBeGreaterThan(0);
    await until('nobody is logged in', async () => (await reader.get('/me')).status === 401);
    expect(performance.now() - since).toBeLessThan(atMost(1_000));
    await admin.config('SET', 'maxmemory', '0');
  });
});
