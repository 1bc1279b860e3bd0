import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { SessionService } from 'nestjs-distributed-session';
import { ADAPTERS } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { cookieOf, idIn, LegacyWorld } from './legacy-world.js';
import { held } from './new-app.js';
import type { Browser, NewApp } from './new-app.js';

let world: LegacyWorld;
beforeAll(async () => {
  world = await LegacyWorld.start();
});
afterEach(() => world.reset());
afterAll(() => world.stop());

const NOBODY = { user: null, cart: [] };
const ALICE = { cookie: { originalMaxAge: null }, passport: { user: 'alice' }, cart: ['tea'] };

describe.each(ADAPTERS)('a session on old nodes and on %s', (adapter) => {
  it('ends on both when its user logs out on an old node', async () => {
    const { port, migration } = await world.newApp(adapter);
    const old = await world.oldApp();
    const browser = await world.someone('legacy-alice', ALICE);
    await browser.me(port);
    const copy = world.browser(browser.jar);
    await browser.post(old.port, '/logout');
    expect(await copy.me(port)).toEqual(NOBODY);
    expect(copy.jar.has('session')).toBe(false);
    expect(await browser.me(port)).toEqual(NOBODY);
    expect(await world.sessions()).toBe(0);
    expect(migration.figures.endedThere).toBe(1);
    expect(await world.redis.keys('linked-*')).toEqual([]);
  });

  it('ends on both when its user logs out on a new node', async () => {
    const { port } = await world.newApp(adapter);
    const old = await world.oldApp();
    const browser = await world.someone('legacy-alice', ALICE);
    await browser.me(port);
    const copy = world.browser(browser.jar);
    const onlyOld = world.browser([['connect.sid', browser.jar.get('connect.sid')!]]);
    await browser.post(port, '/logout');
    expect([...browser.jar]).toEqual([]);
    for (const any of [port, old.port]) {
      expect(await copy.me(any)).toEqual(NOBODY);
      expect(await onlyOld.me(any)).toEqual(NOBODY);
    }
    expect(await world.redis.keys('*alice*')).toEqual([]);
  });

  const outside: [string, (app: NewApp) => Promise<unknown>][] = [
    ['by name', ({ app }) => app.get(SessionService).forPrincipal('alice').revokeAll()],
    [
      'one by one',
      async ({ app }) => {
        const [listed] = await app.get(SessionService).forPrincipal('alice').list();
        await app.get(SessionService).revoke(listed!.handle);
      },
    ],
    ['with all others', ({ app }) => app.get(SessionService).revokeAllPrincipals()],
  ];
  it.each(outside)('ends on both when somebody else ends it, %s', async (_, end) => {
    const app = await world.newApp(adapter);
    const old = await world.oldApp();
    const browser = await world.someone('legacy-alice', ALICE);
    await browser.me(app.port);
    await end(app);
    const copy = world.browser(browser.jar);
    expect(await browser.me(old.port)).toEqual(NOBODY);
    expect(await copy.me(app.port)).toEqual(NOBODY);
    expect(await world.record('legacy-alice')).toBeUndefined();
  });

  it('ends on both when it gives way to another login', async () => {
    const { port } = await world.newApp(adapter, {}, { maxSessions: 1 });
    const old = await world.oldApp();
    const browser = await world.someone('legacy-alice', ALICE);
    await browser.me(port);
    await world.browser().post(port, '/login?user=alice');
    expect(await browser.me(old.port)).toEqual(NOBODY);
  });

  it('is another one on both after another login on either', async () => {
    const { port } = await world.newApp(adapter);
    const old = await world.oldApp();
    const browser = await world.someone('legacy-alice', ALICE);
    await browser.me(port);
    await browser.post(old.port, '/login?user=bob');
    expect((await browser.me(port)).user).toBe('bob');
    await browser.post(port, '/login?user=carol');
    expect((await browser.me(old.port)).user).toBe('carol');
    expect(await world.sessions()).toBe(1);
    expect(await world.redis.keys('sess:*')).toHaveLength(1);
  });

  it('has what both wrote while one of them was at it', async () => {
    const { port } = await world.newApp(adapter);
    const old = await world.oldApp();
    const browser = await world.someone('legacy-alice', { ...ALICE, tier: 'silver' });
    await browser.me(port);
    const { reached, open } = held();
    const slow = world.browser(browser.jar).post(port, '/slow?item=cup');
    await reached;
    const text = await world.redis.get('sess:legacy-alice');
    const { cookie, ...data } = JSON.parse(text!) as Record<string, object>;
    const there = { ...data, cookie: { originalMaxAge: null }, tier: 'gold' };
    await world.redis.set('sess:legacy-alice', JSON.stringify(there), 'KEEPTTL');
    open();
    await slow;
    const both = { cart: ['tea', 'cup'], tier: 'gold' };
    expect(await world.record('legacy-alice')).toMatchObject(both);
    expect((await browser.send(port, 'GET', '/data')).json).toMatchObject(both);
    expect((await browser.me(old.port)).cart).toEqual(['tea', 'cup']);
    expect(cookie).toBeDefined();
  });

  it('does not come back when its user logs out on an old node while a new one writes', async () => {
    const { port } = await world.newApp(adapter);
    const old = await world.oldApp();
    const browser = await world.someone('legacy-alice', ALICE);
    await browser.me(port);
    const { reached, open } = held();
    const slow = world.browser(browser.jar);
    const answer = slow.post(port, '/slow?item=cup');
    await reached;
    await browser.post(old.port, '/logout');
    open();
    await answer;
    expect(await world.record('legacy-alice')).toBeUndefined();
    expect(await world.sessions()).toBe(0);
    for (const any of [port, old.port]) expect(await browser.me(any)).toEqual(NOBODY);
  });

  it('loses nothing that new nodes write at once', async () => {
    const nodes = [await world.newApp(adapter), await world.newApp(adapter)] as const;
    const old = await world.oldApp();
    const browser = await world.someone('legacy-alice', ALICE);
    await browser.me(nodes[0].port);
    const items = Array.from({ length: 12 }, (_, i) => `item${i}`);
    await Promise.all(
      items.map((item, i) =>
        world.browser(browser.jar).post(nodes[i % 2]!.port, `/cart?item=${item}`),
      ),
    );
    const { cart } = await browser.me(old.port);
    expect([...cart].sort()).toEqual(['tea', ...items].sort());
    expect((await browser.me(nodes[1].port)).cart).toEqual(cart);
  });

  it('is written for old nodes by its next request, should a node have died before it could', async () => {
    const { port } = await world.newApp(adapter);
    const old = await world.oldApp();
    const browser = await world.someone('legacy-alice', ALICE);
    await browser.post(port, '/cart?item=cup');
    const before = (await world.redis.get('sess:legacy-alice'))!;
    await browser.post(port, '/cart?item=pot');
    await world.redis.set('sess:legacy-alice', before, 'KEEPTTL');
    expect((await browser.me(port)).cart).toEqual(['tea', 'cup', 'pot']);
    expect((await browser.me(old.port)).cart).toEqual(['tea', 'cup', 'pot']);
  });

  it('stays on old nodes as long as it is used on new ones', async () => {
    const { port } = await world.newApp(adapter, { ttl: '10m' }, { touchAfter: 0 });
    for (const originalMaxAge of [null, 600_000]) {
      const browser = await world.someone('legacy-alice', { ...ALICE, cookie: { originalMaxAge } });
      for (let visit = 0; visit < 2; visit++) {
        await world.redis.pexpire('sess:legacy-alice', 60_000);
        await browser.me(port);
        expect(await world.redis.pttl('sess:legacy-alice')).toBeGreaterThan(500_000);
      }
      await browser.post(port, '/logout');
    }
  });

  it('goes on while nodes with mode both and forward stand side by side', async () => {
    const both = await world.newApp(adapter);
    const forward = await world.newApp(adapter, { mode: 'forward' });
    const browser = await world.someone('legacy-alice', ALICE);
    await browser.me(both.port);
    for (const { port } of [forward, both, forward, both, forward]) {
      expect(await browser.me(port)).toEqual({ user: 'alice', cart: ['tea'] });
    }
    expect([...browser.jar.keys()]).toEqual(['session']);
    expect(await world.redis.keys('sess:*')).toEqual([]);
    expect(await world.sessions()).toBe(1);
  });

  it('gets a cookie of the other library again that its browser has lost', async () => {
    const { port } = await world.newApp(adapter);
    const browser = await world.someone('legacy-alice', ALICE);
    await browser.me(port);
    browser.jar.delete('connect.sid');
    await browser.me(port);
    expect(idIn(browser.jar.get('connect.sid'))).toBe('legacy-alice');
  });
});

describe('where the other library keeps its sessions', () => {
  it('may be another Redis, without which nobody is taken for logged out', async () => {
    const theirs = await RedisServer.start();
    const { port } = await world.newApp('express', { redis: theirs.url });
    const client = theirs.connect();
    await client.set('sess:legacy-alice', JSON.stringify(ALICE), 'PX', 600_000);
    const browser: Browser = world.browser([['connect.sid', cookieOf('legacy-alice')]]);
    expect(await browser.me(port)).toEqual({ user: 'alice', cart: ['tea'] });
    expect(await world.redis.keys('*legacy*')).toEqual([]);
    const jar = [...browser.jar];
    client.disconnect();
    await theirs.stop();
    await expect(browser.me(port)).rejects.toThrow('503');
    expect([...browser.jar]).toEqual(jar);
    await expect(browser.post(port, '/logout')).rejects.toThrow('503');
    expect([...browser.jar]).toEqual(jar);
  });
});
