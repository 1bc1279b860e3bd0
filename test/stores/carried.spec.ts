import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  SessionModule,
  SessionService,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { sealedCookie } from 'nestjs-distributed-session/cookie';
import { ADAPTERS, SECRET, startApp, until, type TestApp } from '../support/app.js';
import { Browser, CarriedAdmin, CarriedShop } from '../support/carried-app.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startNode, STACKS } from '../sockets/gateways.js';
import { clientFor, startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

describe.each(ADAPTERS)('what was revoked, in Redis, on %s', (adapter) => {
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  const opened: { close(): unknown }[] = [];

  beforeAll(async () => {
    redis = await startRedis({ keyPrefixes: ['sess.admin'] });
    probe = await RedisProbe.start(redis);
  }, 60_000);

  beforeEach(() => probe.flush());

  afterEach(async () => {
    for (const one of opened.splice(0).toReversed()) await one.close();
  });

  afterAll(async () => {
    await probe.stop();
    await redis.stop();
  });

  const kept = <T extends { close(): unknown }>(one: T): T => {
    opened.push(one);
    return one;
  };
  const start = async (
    session: Partial<SessionModuleOptions> = {},
    imports: Parameters<typeof startApp>[0]['imports'] = [],
  ): Promise<TestApp> =>
    kept(
      await startApp({
        adapter,
        controllers: [CarriedShop, ...(imports.length > 0 ? [CarriedAdmin] : [])],
        imports,
        session: {
          secret: SECRET,
          store: sealedCookie({ revocation: { redis: redis.connection() } }),
          ...session,
        },
      }),
    );
  const browse = ({ port }: TestApp) => kept(new Browser(port));

  it('is asked once by a request that reads its session, and by no other', async () => {
    const browser = browse(await start());
    const names = async (action: () => Promise<unknown>) =>
      (await probe.commandsDuring(action)).map(({ name }) => name);
    expect(await names(() => browser.get('/me'))).toEqual([]);
    expect(await names(() => browser.post('/cart', { json: {} }))).toEqual([]);
    await browser.login();
    expect(await names(() => browser.get('/me'))).toEqual(['mget']);
    expect(await names(() => browser.get('/private'))).toEqual(['mget']);
    expect(await names(() => browser.post('/cart', { json: {} }))).toEqual(['mget']);
    expect(await names(() => browser.get('/nothing'))).toEqual([]);
    expect(await names(() => browser.post('/logout'))).toEqual(['mget', 'set']);
  });

  it('is asked by nobody where there is none: no store, no commands', async () => {
    const browser = browse(await start({ store: sealedCookie() }));
    const commands = await probe.commandsDuring(async () => {
      await browser.login();
      expect(await browser.principal()).toBe('alice');
      await browser.post('/logout');
    });
    expect(commands).toEqual([]);
  });

  it('is known to all nodes: after a logout, revokeAll and revoke', async () => {
    const [one, other] = [await start(), await start()];
    const here = browse(one);
    await here.login();
    const there = kept(new Browser(other.port, here.jar));
    expect(await there.principal()).toBe('alice');
    const copy = there.stolen();
    opened.push(copy);
    await here.post('/logout');
    expect(await copy.principal()).toBeNull();
    const phone = browse(one);
    await phone.login();
    await other.app.get(SessionService).forPrincipal('alice').revokeAll();
    expect(await phone.principal()).toBeNull();
    await phone.login();
    const { id } = (await phone.me()) as { id: string };
    expect(await other.app.get(SessionService).revoke(id)).toBe(true);
    expect(await phone.principal()).toBeNull();
  });

  it('tells nobody who reads it a session, an id or a principal, and is forgotten in time', async () => {
    const app = await start({ absoluteTimeout: '1h', idleTimeout: '30m' });
    const browser = browse(app);
    await browser.login({ as: 'alice-of-wonderland' });
    await browser.post('/regenerate');
    await browser.post('/logout');
    await browser.login({ as: 'alice-of-wonderland', rememberMe: true });
    await app.app.get(SessionService).forPrincipal('alice-of-wonderland').revokeAll();
    const dump = [...(await probe.dump())].flat().join('\n');
    expect(dump).not.toMatch(/wonderland/);
    const lives = await Promise.all(
      (await probe.keys('*')).map(async (key) => [key, await probe.client.pttl(key)] as const),
    );
    expect(lives.length).toBeGreaterThanOrEqual(3);
    for (const [key, life] of lives) {
      expect(key).toMatch(/^\{sess:[0-9a-f]{2}\}:[rv]:/);
      expect(life).toBeGreaterThan(3_500_000);
      // And somewhat longer: clocks may be apart.
      expect(life).toBeLessThanOrEqual(30 * 86_400_000 + 300_000);
    }
  });

  it('ends the session that a renewed one became, when the renewal and the logout meet', async () => {
    const app = await start();
    const browser = browse(app);
    await browser.login();
    const tab = browser.stolen();
    opened.push(tab);
    await browser.post('/regenerate');
    await tab.post('/logout');
    expect(await browser.principal()).toBeNull();
  });

  it('keeps names apart, and closes what it has opened', async () => {
    const before = await probe.connections();
    const app = await start({}, [SessionModule.forFeature('admin')]);
    const browser = browse(app);
    await browser.login();
    await browser.post('/admin/login');
    await app.app.get(SessionService).forPrincipal('root').revokeAll();
    expect((await browser.get('/admin/me')).json.principal).toBe('root');
    opened.splice(opened.indexOf(app), 1);
    await app.close();
    await until('all connections are closed', async () => (await probe.connections()) <= before);
  });

  it('leaves a client that was handed in open', async () => {
    const client = await clientFor(redis);
    const store = sealedCookie({ revocation: { redis: client } });
    const app = await start({ store });
    const browser = browse(app);
    await browser.login();
    await browser.post('/logout');
    opened.splice(opened.indexOf(app), 1);
    await app.close();
    expect(await client.ping()).toBe('PONG');
    client.disconnect();
  });

  it('does not boot while it does not answer, unless it is told to', async () => {
    const store = sealedCookie({ revocation: { redis: 'redis://127.0.0.1:1' } });
    await expect(start({ store })).rejects.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    const app = await start({ store, bootWithoutStore: true });
    const browser = browse(app);
    expect((await browser.get('/nothing')).status).toBe(200);
    expect((await browser.login()).status).toBe(503);
  });

  it('is down: 503, and the cookie is neither set nor cleared; and then it is back', async () => {
    const app = await start({ touchAfter: 0 });
    const browser = browse(app);
    await browser.login();
    await redis.kill();
    for (const answer of [
      await browser.get('/me'),
      await browser.post('/cart', { json: {} }),
      await browser.post('/logout'),
    ]) {
      expect(answer.status).toBe(503);
      expect(answer.setCookie).toEqual([]);
    }
    expect((await browser.get('/nothing')).status).toBe(200);
    await redis.run();
    await probe.ready();
    // Who was told that the logout is not confirmed may see it confirmed by now.
    await until('it answers again', async () => (await browser.get('/me')).status === 200);
  }, 30_000);
});

describe.each(STACKS)('over a socket: %s', (_, platform, adapter) => {
  it('a session that is not there is refused, and never taken for none', async () => {
    const store = sealedCookie({ revocation: 'memory' });
    const node = await startNode(platform, adapter, { session: { secret: SECRET, store } });
    const browser = await node.login();
    const socket = await node.connect(browser);
    expect(await socket.ask('who')).toMatchObject({
      status: 'error',
      code: 'SESSION_UNAVAILABLE',
    });
  });
});
