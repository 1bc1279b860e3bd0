import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { setTimeout as pause } from 'node:timers/promises';
import type { SessionModuleOptions } from 'nestjs-distributed-session';
import { until, type TestApp } from '../support/app.js';
import { atMost } from '../support/fault-record.js';
import type { HttpClient } from '../support/http-client.js';
import { areLive, changesDuring, figuresOf, nearApp } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';

/** How long something may be out of date, in milliseconds, while changes are told. */
const TOLD = atMost(100);
/** May do anything but this. */
const USER = { username: 'shop', password: 'only-for-the-looks-of-tests' };
const RULES = [`>${USER.password}`, '~*', '&*', '+@all', '-client|tracking'];

describe('copies where the user of Redis is not told of changes', () => {
  const opened = new Opened();
  let redis: RedisServer;
  let admin: Redis;
  let nodes: TestApp[];
  let writer: HttpClient;
  let reader: HttpClient;

  const boot = async (more: SessionModuleOptions = {}) => {
    const start = (connectionName: string) =>
      opened.app(nearApp({ url: redis.url, connectionName }, more));
    nodes = [await start('one'), await start('two')];
  };
  const logIn = async () => {
    writer = opened.browser(nodes[0]!);
    await writer.post('/login/alice');
    await writer.post('/note');
    reader = opened.browser(nodes[1]!, writer.jar);
    expect((await reader.get('/me')).status).toBe(200);
  };
  const isCopied = async () => {
    const { hits } = figuresOf(nodes[1]!);
    await until('a copy is served', async () => {
      await reader.get('/me');
      return figuresOf(nodes[1]!).hits > hits;
    });
  };
  /** Of all nodes of this process: Nest logs with the logger of the latest. */
  const warnings = () =>
    nodes.flatMap(({ logger }) => logger.texts('warn').filter((one) => one.includes('nearCache')));
  const connectionsOf = async (name: string) =>
    String(await admin.client('LIST')).match(new RegExp(` name=${name} `, 'g'))?.length ?? 0;
  const kill = async (type: string) => {
    await admin.call('CLIENT', 'KILL', 'TYPE', type);
  };
  const expectNoCopies = async () => {
    const probe = await RedisProbe.start(redis);
    const commands = await probe.commandsDuring(async () => {
      for (let i = 0; i < 5; i++) expect((await reader.get('/me')).status).toBe(200);
    });
    expect(commands.filter(({ name }) => name === 'get')).toHaveLength(5);
    await probe.stop();
    expect(figuresOf(nodes[1]!)).toMatchObject({ entries: 0, hits: 0, live: false });
    expect((await changesDuring(writer, reader, () => pause(200))).stale).toBeLessThan(TOLD);
  };

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
  });

  it('are none: it boots, says once how to mend that, and every read asks Redis', async () => {
    await boot();
    const remedy = expect.stringMatching(/CLIENT TRACKING.*docs\/near-cache\.md.*events/);
    expect(warnings()).toEqual([remedy, remedy]);
    await logIn();
    await expectNoCopies();
    // What would hear is not kept open, nor asked for again and again.
    expect(await connectionsOf('two')).toBe(1);
    const asked = async () =>
      Number(
        /tracking:calls=\d+.*rejected_calls=(\d+)/.exec(await admin.info('commandstats'))?.[1],
      );
    const before = await asked();
    await pause(1_500);
    expect(await asked()).toBe(before);
  });

  it('are kept by lifecycle events, if those tell of changes', async () => {
    await boot({ events: { modified: true } });
    expect(warnings()).toEqual([]);
    await areLive(nodes);
    await logIn();
    await isCopied();
    const seen = await changesDuring(writer, reader, () => pause(500));
    expect(seen.stale).toBeLessThan(TOLD);
    expect(figuresOf(nodes[1]!).invalidations).toBeGreaterThan(5);
    const { flushes } = figuresOf(nodes[1]!);
    const cut = await changesDuring(writer, reader, async () => {
      await kill('pubsub');
      await until('the gap is known', () => figuresOf(nodes[1]!).flushes > flushes);
    });
    expect(cut.stale).toBeLessThan(atMost(1_000));
    const after = await changesDuring(writer, reader, () => pause(300));
    expect(after.stale).toBeLessThan(TOLD);
    await isCopied();
    await writer.post('/logout');
    await until('they are out', async () => (await reader.get('/me')).status === 401);
  });

  it.each([
    ['are none', {}],
    ['are kept by events', { events: { modified: true } }],
  ])('%s where that is first known when Redis is there', async (what, more) => {
    await redis.kill();
    await boot({ bootWithoutStore: true, ...more });
    expect(warnings()).toEqual([]);
    await redis.run();
    await admin.ping();
    if (what === 'are none') {
      await until('they say so', () => warnings().length === 2);
      await logIn();
      await expectNoCopies();
      expect(warnings()).toHaveLength(2);
    } else {
      await areLive(nodes);
      await logIn();
      await isCopied();
      const seen = await changesDuring(writer, reader, () => pause(300));
      expect(seen.stale).toBeLessThan(TOLD);
      expect(warnings()).toEqual([]);
    }
  });

  it('are none while the right is withdrawn, and are kept again when it is given back', async () => {
    await admin.call('ACL', 'SETUSER', USER.username, '+client|tracking');
    await boot();
    await areLive(nodes);
    expect(warnings()).toEqual([]);
    await logIn();
    await isCopied();
    await admin.call('ACL', 'SETUSER', USER.username, '-client|tracking');
    const seen = await changesDuring(writer, reader, async () => {
      await kill('pubsub');
      await until('they say so', () => warnings().length === 2);
      await pause(200);
    });
    expect(seen.stale).toBeLessThan(TOLD);
    expect(figuresOf(nodes[1]!)).toMatchObject({ entries: 0, live: false });
    await admin.call('ACL', 'SETUSER', USER.username, '+client|tracking');
    await areLive(nodes);
    await isCopied();
    expect(warnings()).toHaveLength(2);
  });
});
