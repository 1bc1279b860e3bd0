import { afterEach, describe, expect, it } from '@jest/globals';
import { Redis, type RedisOptions } from 'ioredis';
import {
  RedisSessionStore,
  type RedisClient,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import type { CopyKeeper, Following } from '../../lib/core/followed-store.interface.js';
import { until, type TestApp } from '../support/app.js';
import { areLive, figuresOf, nearApp } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { RedisGate } from '../support/redis-gate.js';
import { RedisSentinel } from '../support/redis-sentinel.js';
import { RedisServer } from '../support/redis-server.js';

/** May do anything but ask which server it is. */
const USER = { username: 'shop', password: 'only-for-the-looks-of-tests' };
const RULES = [`>${USER.password}`, '~*', '&*', '+@all', '-info'];

/** Writes down when it was told that nobody follows it any more. */
class CountedStore extends RedisSessionStore {
  readonly calls: string[] = [];

  override async follow(keeper: CopyKeeper): Promise<Following | undefined> {
    const following = (await super.follow(keeper))!;
    const stop = () => {
      this.calls.push('stop');
      following.stop();
    };
    return Object.create(following, { stop: { value: stop } }) as Following;
  }

  override async close(): Promise<void> {
    this.calls.push('close');
    await super.close();
  }
}

describe('who tells a near cache of changes', () => {
  const opened = new Opened();
  afterEach(opened.close, 30_000);

  const start = async <T extends RedisServer | RedisSentinel>(starting: Promise<T>) => {
    const redis = await starting;
    /** What was refused before was so as it should. */
    const allow = async (...rules: string[]) => {
      for (const server of redis.servers) {
        const admin = server.connect();
        if (rules.length > 0) await admin.call('ACL', 'SETUSER', USER.username, ...rules);
        await admin.call('ACL', 'LOG', 'RESET');
        admin.disconnect();
      }
    };
    const close = async () => {
      await allow();
      await redis.stop();
    };
    return opened.add({ redis, allow, close });
  };
  const boot = (from: SessionModuleOptions['redis'], more: SessionModuleOptions = {}) =>
    opened.app(nearApp(from, more));
  const warnings = ({ logger }: TestApp) =>
    logger.texts('warn').filter((text) => text.includes('nearCache'));
  const isCopied = async (app: TestApp) => {
    const browser = opened.browser(app);
    await browser.post('/login/alice');
    await until('a copy is served', async () => {
      expect((await browser.get('/me')).status).toBe(200);
      return figuresOf(app).hits > 0;
    });
  };

  it('is asked for no more when the application ends, before the store is closed', async () => {
    const { redis } = await start(RedisServer.start());
    const client = redis.connect();
    opened.add({ close: () => client.disconnect() });
    const store = new CountedStore(client as RedisClient);
    const app = await boot(undefined, { store });
    await areLive([app]);
    await isCopied(app);
    opened.drop(app);
    await app.close();
    expect(store.calls).toEqual(['stop', 'close']);
    expect(figuresOf(app)).toMatchObject({ entries: 0, live: false });
  });

  it('is known at one address, also where the server does not say who it is', async () => {
    const { redis } = await start(RedisServer.start([], { user: { ...USER, rules: RULES } }));
    const app = await boot(redis.connection());
    await areLive([app]);
    await isCopied(app);
    expect(warnings(app)).toEqual([]);
  });

  it('is not known at two addresses, but where the server says who it is', async () => {
    const { redis, allow } = await start(
      RedisServer.start([], { user: { ...USER, rules: RULES } }),
    );
    const gate = await RedisGate.start(redis.port);
    opened.add({ close: () => gate.stop() });
    // As by a name that leads to several: the connection beside comes another way.
    const connect = (port: number, options: RedisOptions = {}) =>
      new Redis({ host: '127.0.0.1', port, ...USER, lazyConnect: true, ...options });
    const handedIn = () => {
      const client = connect(redis.port);
      opened.add({ close: () => client.disconnect() });
      client.duplicate = (options) => {
        const data = connect(redis.port, options);
        data.duplicate = (more) => connect(gate.port, more);
        return data;
      };
      return client as RedisClient;
    };
    const app = await boot(handedIn());
    expect(warnings(app)).toEqual([expect.stringMatching(/INFO.*docs\/near-cache\.md/)]);
    expect(figuresOf(app).live).toBe(false);
    await allow('+info');
    const next = await boot(handedIn());
    await areLive([next]);
    await isCopied(next);
    expect(warnings(next)).toEqual([]);
  });

  it('is known behind sentinels only where the master says who it is', async () => {
    const { redis, allow } = await start(
      RedisSentinel.start({ replicas: 1, user: { ...USER, rules: RULES } }),
    );
    const app = await boot(redis.connection());
    expect(warnings(app)).toEqual([expect.stringMatching(/INFO.*docs\/near-cache\.md/)]);
    expect(figuresOf(app)).toMatchObject({ live: false, entries: 0 });
    await allow('+info');
    const next = await boot(redis.connection());
    await areLive([next]);
    await isCopied(next);
    expect(warnings(next)).toEqual([]);
    // The right is withdrawn while it runs, and given back.
    await allow('-info');
    const admin = (await redis.master()).connect();
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    admin.disconnect();
    await until('it says so', () => warnings(next).length === 1);
    expect(figuresOf(next)).toMatchObject({ live: false, entries: 0 });
    await allow('+info');
    await areLive([next], 16_000);
    expect(warnings(next)).toHaveLength(1);
  }, 60_000);
});
