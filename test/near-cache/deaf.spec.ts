import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Sse, type MessageEvent } from '@nestjs/common';
import type { Redis } from 'ioredis';
import { NEVER, type Observable } from 'rxjs';
import { setTimeout as pause } from 'node:timers/promises';
import {
  RequireSession,
  SessionService,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { ADAPTERS, until, type AdapterName, type TestApp } from '../support/app.js';
import { atMost } from '../support/fault-record.js';
import type { HttpClient } from '../support/http-client.js';
import { LinkProxy } from '../support/link-proxy.js';
import { areLive, changesDuring, figuresOf, nearApp, NearShop } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { RedisGate } from '../support/redis-gate.js';
import { RedisServer } from '../support/redis-server.js';

/** How long something may be out of date, in milliseconds, while changes are told or it is known that they are not. */
const TOLD = atMost(100);
/** And until that is noticed: asked for every second, and waited for 1.5 seconds. */
const NOTICED = 3_500;
/** May do anything but be tracked: events tell of changes. */
const USER = { username: 'shop', password: 'only-for-the-looks-of-tests' };
const RULES = [`>${USER.password}`, '~*', '&*', '+@all', '-client|tracking'];

@Controller()
class Streams {
  @RequireSession() @Sse('stream') stream(): Observable<MessageEvent> {
    return NEVER;
  }
}

describe.each(ADAPTERS)('copies that events tell of, on %s', (adapter: AdapterName) => {
  const opened = new Opened();
  let redis: RedisServer;
  let admin: Redis;
  let nodes: TestApp[];

  /** The second node comes by where it is told. */
  const boot = async (url = redis.url, more: SessionModuleOptions = {}) => {
    const start = (from: string) =>
      opened.app({
        ...nearApp({ url: from, ...USER }, { events: { modified: true }, ...more }),
        adapter,
        controllers: [NearShop, Streams],
      });
    nodes = [await start(redis.url), await start(url)];
  };
  /** Logged in at the first node, and served from a copy at the second. */
  const logIn = async (name: string) => {
    const writer = opened.browser(nodes[0]!);
    await writer.post(`/login/${name}`);
    await writer.post('/note');
    const reader = opened.browser(nodes[1]!, writer.jar);
    await isCopied(reader);
    return { name, writer, reader };
  };
  const isCopied = async (reader: HttpClient) => {
    const { hits } = figuresOf(nodes[1]!);
    await until('a copy is served', async () => {
      expect((await reader.get('/me')).status).toBe(200);
      return figuresOf(nodes[1]!).hits > hits;
    });
  };
  const revoke = (name: string) => nodes[0]!.app.get(SessionService).forPrincipal(name).revokeAll();
  const killSubscribers = () => admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  const allow = (...rules: string[]) => admin.call('ACL', 'SETUSER', USER.username, ...rules);
  const itsLog = (level: string, part: string) =>
    nodes.flatMap(({ logger }) => logger.texts(level)).filter((text) => text.includes(part));

  beforeEach(async () => {
    redis = await RedisServer.start([], { user: { ...USER, rules: RULES } });
    admin = redis.connect({ retryStrategy: () => 20 });
  });

  afterEach(async () => {
    await opened.close();
    // It was refused, as it should.
    await admin.call('ACL', 'LOG', 'RESET');
    admin.disconnect();
    await redis.stop();
  }, 30_000);

  it('are none while it is known that nothing is heard, however long that takes', async () => {
    const gate = opened.add(await RedisGate.start(redis.port).then(closing));
    await boot(gate.url);
    await areLive(nodes);
    const [alice, bob, carol] = [await logIn('alice'), await logIn('bob'), await logIn('carol')];
    gate.cut(/subscribe/i);
    await killSubscribers();
    await until('it is noticed', () => !figuresOf(nodes[1]!).live);
    const { hits } = figuresOf(nodes[1]!);
    // What was copied before the silence, and what is read in it.
    await revoke('alice');
    expect((await alice.reader.get('/me')).status).toBe(401);
    expect((await bob.reader.get('/me')).status).toBe(200);
    await revoke('bob');
    const since = performance.now();
    while (performance.now() - since < 3_000) {
      for (const { reader } of [alice, bob]) expect((await reader.get('/me')).status).toBe(401);
      await pause(50);
    }
    const seen = await changesDuring(carol.writer, carol.reader, () => pause(300));
    expect(seen.stale).toBeLessThan(TOLD);
    expect(seen.reads).toEqual({ 200: expect.any(Number) });
    expect(figuresOf(nodes[1]!)).toMatchObject({ hits, entries: 0, live: false });

    gate.release();
    await areLive(nodes);
    await isCopied(carol.reader);
    const after = await changesDuring(carol.writer, carol.reader, () => pause(300));
    expect(after.stale).toBeLessThan(TOLD);
    expect((await bob.reader.get('/me')).status).toBe(401);
  }, 30_000);

  it('are out of date no longer than it takes to notice that the link is open at one end only', async () => {
    const proxy = opened.add(await LinkProxy.start(redis.port).then(closing));
    await boot(proxy.url);
    await areLive(nodes);
    const { writer, reader } = await logIn('alice');
    const seen = await changesDuring(writer, reader, async () => {
      await pause(100);
      proxy.swallow('ear');
      await until('it is noticed', () => !figuresOf(nodes[1]!).live);
      await areLive(nodes);
      await isCopied(reader);
    });
    expect(seen.stale).toBeGreaterThan(500);
    expect(seen.stale).toBeLessThan(NOTICED);
    const after = await changesDuring(writer, reader, () => pause(300));
    expect(after.stale).toBeLessThan(TOLD);
  }, 30_000);

  it('are none while listening is refused, and are kept again when the right is given back; so do streams end', async () => {
    await boot();
    await areLive(nodes);
    const [alice, bob] = [await logIn('alice'), await logIn('bob')];
    const stream = await open(nodes[1]!, alice.reader);
    await allow('-subscribe');
    await killSubscribers();
    await until('they say so', () => itsLog('warn', 'SUBSCRIBE').length === 2);
    expect(figuresOf(nodes[1]!)).toMatchObject({ entries: 0, live: false });
    await revoke('alice');
    expect((await alice.reader.get('/me')).status).toBe(401);
    // It is asked again now and then, and said once.
    const refused = async () =>
      Number(/subscribe:.*rejected_calls=(\d+)/.exec(await admin.info('commandstats'))?.[1]);
    const before = await refused();
    await until('they ask again', async () => (await refused()) >= before + 2, { within: 16_000 });
    expect(await refused()).toBeLessThan(before + 8);
    expect(itsLog('warn', 'SUBSCRIBE')).toHaveLength(2);
    expect(stream.hasEnded).toBe(false);

    await allow('+subscribe');
    await areLive(nodes, 16_000);
    await until('the stream ends', () => stream.hasEnded);
    expect(itsLog('log', 'listen again')).toHaveLength(2);
    await isCopied(bob.reader);
    const after = await changesDuring(bob.writer, bob.reader, () => pause(300));
    expect(after.stale).toBeLessThan(TOLD);
  }, 60_000);

  it('are none where it is first refused when Redis is there, and are kept when it is allowed', async () => {
    await redis.kill();
    await boot(redis.url, { bootWithoutStore: true });
    expect(nodes.map((node) => figuresOf(node).live)).toEqual([false, false]);
    await redis.run();
    await allow('-subscribe');
    await killSubscribers();
    await until('they say so', () => itsLog('warn', 'SUBSCRIBE').length === 2);
    expect(nodes.map((node) => figuresOf(node).live)).toEqual([false, false]);
    await allow('+subscribe');
    await areLive(nodes, 16_000);
    const { writer, reader } = await logIn('alice');
    const seen = await changesDuring(writer, reader, () => pause(300));
    expect(seen.stale).toBeLessThan(TOLD);
  }, 60_000);
});

/** As `Opened` wants it. */
const closing = <T extends { stop(): Promise<void> }>(proxy: T) =>
  Object.assign(proxy, { close: () => proxy.stop() });

/** A stream of events, until it ends. */
async function open({ port }: TestApp, { cookieHeader: cookie }: HttpClient) {
  const response = await fetch(`http://127.0.0.1:${port}/stream`, { headers: { cookie } });
  expect(response.status).toBe(200);
  const stream = { hasEnded: false };
  const read = async () => {
    for await (const _ of response.body!);
    stream.hasEnded = true;
  };
  read().catch(() => undefined);
  return stream;
}
