import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { SessionOptionsError, SessionService } from 'nestjs-distributed-session';
import { connectRedis } from 'nestjs-distributed-session/migration';
import { ADAPTERS, byHandle, SECRET, startApp } from '../support/app.js';
import { cookieOf, idIn, LegacyWorld } from './legacy-world.js';
import { CART } from './new-app.js';
import { OLD_SECRETS } from './old-apps.js';

let world: LegacyWorld;
beforeAll(async () => {
  world = await LegacyWorld.start();
});
afterEach(() => world.reset());
afterAll(() => world.stop());

const ALICE = { cookie: { originalMaxAge: null }, passport: { user: 'alice' }, cart: ['tea'] };

describe.each(ADAPTERS)('a session of express-session that comes to %s', (adapter) => {
  it.each(['both', 'forward'] as const)(
    'becomes one session, however many requests bring it at once (%s)',
    async (mode) => {
      const nodes = [
        await world.newApp(adapter, { mode }),
        await world.newApp(adapter, { mode }),
      ] as const;
      const { jar } = await world.someone('legacy-alice', ALICE);
      const browsers = Array.from({ length: 20 }, () => world.browser(jar));
      const seen = await Promise.all(browsers.map((one, i) => one.me(nodes[i % 2]!.port)));
      expect(seen).toEqual(seen.map(() => ({ user: 'alice', cart: ['tea'] })));
      expect(await world.sessions()).toBe(1);
      expect(new Set(browsers.map((one) => one.jar.get('session'))).size).toBe(1);
      const [first, second] = nodes.map(({ migration }) => migration.figures);
      expect(first!.converted + second!.converted).toBe(1);
      expect(await world.record('legacy-alice')).toEqual(
        mode === 'both' ? expect.objectContaining({ cart: ['tea'] }) : undefined,
      );
    },
  );

  it('keeps the principal, and is listed among the principal’s sessions', async () => {
    const { port, app } = await world.newApp(adapter);
    await (await world.someone('legacy-alice', ALICE)).me(port);
    const listed = await app.get(SessionService).forPrincipal('alice').list();
    expect(listed).toMatchObject([{ principal: 'alice' }]);
  });

  it('is mapped as the application says, both ways', async () => {
    const { port } = await world.newApp(adapter, {
      map: ({ userId, ...data }) => ({ principal: userId as string | undefined, data }),
      unmap: ({ principal, data }) => ({ ...data, ...(principal && { userId: principal }) }),
    });
    const browser = await world.someone('legacy-bob', { cookie: {}, userId: 'bob', cart: ['a'] });
    expect(await browser.me(port)).toEqual({ user: 'bob', cart: ['a'] });
    await browser.post(port, '/cart?item=b');
    expect((await browser.send(port, 'GET', '/data')).json).not.toHaveProperty('userId');
    expect(await world.record('legacy-bob')).toMatchObject({ userId: 'bob', cart: ['a', 'b'] });
  });

  it('is refused with a forged signature, and served with an older secret', async () => {
    const { port } = await world.newApp(adapter);
    await world.someone('legacy-alice', ALICE);
    const sign = (secret: string) => cookieOf('legacy-alice', secret);
    const right = sign(OLD_SECRETS[0]!);
    const forged = [
      sign('no-secret-of-ours'),
      right.slice(0, -1),
      `${right}A`,
      right.replace('legacy-alice', 'legacy-alicf'),
      right.replace(/^s%3A/, ''),
      encodeURIComponent('s:legacy-alice'),
      encodeURIComponent('s:legacy-alice.'),
      's%3A.',
      '%E0%A4%A',
      '',
    ];
    for (const cookie of forged) {
      const browser = world.browser([['connect.sid', cookie]]);
      expect(await browser.me(port)).toEqual({ user: null, cart: [] });
    }
    expect(await world.sessions()).toBe(0);
    const browser = world.browser([['connect.sid', sign(OLD_SECRETS[1]!)]]);
    expect(await browser.me(port)).toEqual({ user: 'alice', cart: ['tea'] });
  });

  it('that has expired is none', async () => {
    const { port, migration } = await world.newApp(adapter);
    const browser = await world.someone('legacy-alice', ALICE);
    await world.redis.pexpire('sess:legacy-alice', 0);
    expect(await browser.me(port)).toEqual({ user: null, cart: [] });
    expect(await world.sessions()).toBe(0);
    expect(migration.figures).toMatchObject({ converted: 0, unknown: 1 });
  });

  it.each([
    ['no JSON', '{"cookie":{},"cart":'],
    ['a list', '[{"cookie":{}}]'],
    ['a number', '5'],
    ['nothing', 'null'],
    ['empty', '{"cookie":{}}'],
    ['empty, without a cookie', '{}'],
  ])('whose record is %s is none, and stays as it is', async (_, text) => {
    const { port } = await world.newApp(adapter);
    const browser = await world.someone('legacy-odd', text);
    expect(await browser.me(port)).toEqual({ user: null, cart: [] });
    expect(await world.sessions()).toBe(0);
    expect(await world.redis.get('sess:legacy-odd')).toBe(text);
  });

  it('cannot change what objects are', async () => {
    const { port } = await world.newApp(adapter);
    const text =
      '{"__proto__":{"polluted":1,"passport":{"user":"root"}},"constructor":{"prototype":{"polluted":1}},"cookie":{"__proto__":{"polluted":1}},"cart":["tea"]}';
    const browser = await world.someone('legacy-evil', text);
    expect(await browser.me(port)).toEqual({ user: null, cart: ['tea'] });
    await browser.post(port, '/cart?item=cup');
    const { json, text: seen } = await browser.send(port, 'GET', '/data');
    expect(json).toMatchObject({ cart: ['tea', 'cup'], isPolluted: false });
    expect(seen).not.toContain('__proto__');
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  it('leads nobody on who has planted its id, once somebody logs in', async () => {
    const { port } = await world.newApp(adapter);
    const old = await world.oldApp();
    const attacker = await world.someone('planted', { cookie: {}, cart: ['bait'] });
    await attacker.me(port);
    const victim = world.browser(attacker.jar);
    await victim.post(port, '/login?user=alice');
    expect(await victim.me(old.port)).toEqual({ user: 'alice', cart: ['bait'] });
    expect(victim.jar.get('connect.sid')).not.toBe(attacker.jar.get('connect.sid'));
    expect(await world.record('planted')).toBeUndefined();
    for (const { port: any } of [{ port }, old]) {
      const all = world.browser(attacker.jar);
      const olds = world.browser([['connect.sid', attacker.jar.get('connect.sid')!]]);
      expect((await all.me(any)).user).toBeNull();
      expect((await olds.me(any)).user).toBeNull();
    }
  });

  it('in which an old node logs somebody in under the same id is another session here', async () => {
    const { port } = await world.newApp(adapter);
    const old = await world.oldApp();
    const browser = await world.someone('in-place', { cookie: {}, cart: ['tea'] });
    await browser.me(port);
    const before = browser.jar.get('session')!;
    await browser.post(old.port, '/login-in-place?user=alice');
    expect(await browser.me(port)).toEqual({ user: 'alice', cart: ['tea'] });
    expect(browser.jar.get('session')).not.toBe(before);
    const thief = world.browser([['session', before]]);
    expect(await thief.me(port)).toEqual({ user: null, cart: [] });
    expect(await world.sessions()).toBe(1);
  });

  it('serves a browser that knows only the old id after a renewal here', async () => {
    const { port } = await world.newApp(adapter, {}, { regenerateGrace: 0 });
    const old = await world.oldApp();
    const browser = await world.someone('legacy-alice', ALICE);
    await browser.me(port);
    const before = browser.jar.get('connect.sid')!;
    await browser.post(port, '/renew');
    expect(browser.jar.get('connect.sid')).toBe(before);
    expect((await browser.me(old.port)).user).toBe('alice');
    const other = world.browser([['connect.sid', before]]);
    await other.post(port, '/cart?item=cup');
    expect(await browser.me(port)).toEqual({ user: 'alice', cart: ['tea', 'cup'] });
    await browser.post(port, '/logout');
    expect(await other.me(port)).toEqual({ user: null, cart: [] });
  });

  it('for good leads on for those who lost the answer, and ends with its logout', async () => {
    const { port } = await world.newApp(adapter, { mode: 'forward' });
    const browser = await world.someone('legacy-alice', ALICE);
    const { jar } = browser;
    const lost = world.browser(jar);
    await lost.me(port);
    expect(lost.jar.has('connect.sid')).toBe(false);
    expect(await browser.me(port)).toEqual({ user: 'alice', cart: ['tea'] });
    expect(await world.sessions()).toBe(1);
    await browser.post(port, '/logout');
    const late = world.browser([['connect.sid', cookieOf('legacy-alice')]]);
    expect(await late.me(port)).toEqual({ user: null, cart: [] });
    // As a request does that had read it before.
    const stalled = await world.someone('legacy-alice', ALICE);
    expect(await stalled.me(port)).toEqual({ user: null, cart: [] });
    expect(await world.sessions()).toBe(0);
  });
});

byHandle('sessions of ours that nobody has asked for', () => {
  it('are exported, and known on old nodes with their next request', async () => {
    const before = await startApp({
      adapter: 'express',
      session: { redis: world.server.url, secret: SECRET },
    });
    const service = before.app.get(SessionService);
    const tokens: string[] = [];
    for (const principal of ['alice', 'bob', 'carol']) {
      const session = await service.create({ principal, data: { [CART]: [principal] } });
      tokens.push(service.tokenOf(session));
    }
    await before.close();
    const { port, migration } = await world.newApp('express');
    const old = await world.oldApp();
    expect(await migration.exportAll()).toBe(3);
    expect(await migration.exportAll()).toBe(0);
    expect(await migration.remaining()).toEqual({ records: 3, linked: 3 });
    const browser = world.browser([['session', tokens[1]!]]);
    expect((await browser.me(port)).user).toBe('bob');
    expect(await browser.me(old.port)).toEqual({ user: 'bob', cart: ['bob'] });
    expect(await world.record(idIn(browser.jar.get('connect.sid')))).toBeDefined();
    expect(await migration.remaining()).toEqual({ records: 3, linked: 3 });
  });
});

describe('sessions of ours', () => {
  it('begin on old nodes as well, also when two requests begin them at once', async () => {
    const { port } = await world.newApp('fastify', { mode: 'forward' });
    const first = world.browser();
    await first.post(port, '/login?user=alice');
    expect([...first.jar.keys()]).toEqual(['session']);
    const both = await world.newApp('fastify');
    const browsers = Array.from({ length: 10 }, () => world.browser(first.jar));
    await Promise.all(browsers.map((one) => one.me(both.port)));
    expect(new Set(browsers.map(({ jar }) => jar.get('connect.sid'))).size).toBe(1);
    expect(await both.migration.remaining()).toEqual({ records: 1, linked: 1 });
  });
});

describe('options', () => {
  it.each([
    [{ secrets: [] }, /secrets/],
    [{ secrets: [''] }, /secrets/],
    [{ secrets: 'a', mode: 'back' as 'both' }, /mode/],
    [{ secrets: 'a', prefix: '' }, /prefix/],
    [{ secrets: 'a', map: () => ({}) }, /unmap/],
    [{ secrets: 'a', unmap: {} as never }, /unmap: use a function/],
    [{ secrets: 'a', prefix: 7 as never }, /prefix/],
    [{ secrets: 'a', ttl: '1 day' as never }, /ttl: use a duration such as '1d'/],
    [{ secrets: 'a', ttl: null as never }, /ttl: use a duration/],
    [{ secrets: 'a', ttl: NaN }, /ttl: use a duration/],
    [{ secrets: 'a', ttl: 1e300 }, /ttl: use a duration/],
    [{ secrets: 'a', ttl: 0 }, /ttl is less than a minute/],
    [{ secrets: 'a', ttl: -5 }, /ttl is less than a minute/],
    [{ secrets: 'a', ttl: '59s' as const }, /ttl is less than a minute/],
    [{ secrets: 'a', ttl: 86_400 }, /ttl is 86400, in milliseconds; .* write '1d'/],
    [{ secrets: 'a', ttl: 1_800 }, /write '30m'/],
    [{ secrets: 'a', cookie: '' }, /cookie: use the cookie's name/],
    [{ secrets: 'a', cookie: 7 as never }, /cookie: use the cookie's name/],
    [{ secrets: 'a', cookie: { maxAge: '1d' as never } }, /maxAge: use a whole number/],
    [{ secrets: 'a', cookie: { maxAge: 0 } }, /maxAge: use a whole number/],
    [{ secrets: 'a', cookie: { maxAge: -1 } }, /maxAge: use a whole number/],
    [{ secrets: 'a', cookie: { maxAge: NaN } }, /maxAge: use a whole number/],
    [{ secrets: 'a', cookie: { maxAge: null as never } }, /leave it out/],
  ])('that are wrong are refused: %j', (options, problem) => {
    expect(() => connectRedis(options)).toThrow(SessionOptionsError);
    expect(() => connectRedis(options)).toThrow(problem);
  });

  it('that are right are taken', () => {
    for (const ttl of [undefined, '1m', '30m', '1d', 3_600_000, 86_400_000] as const) {
      expect(() => connectRedis({ secrets: 'a', ttl, cookie: { maxAge: 900_000 } })).not.toThrow();
    }
    expect(() => connectRedis({ secrets: 'a', cookie: 'sid' })).not.toThrow();
  });

  it.each([
    [{ accounts: 2 }, /accounts/],
    [{ transport: 'x-auth-token' as const }, /transport 'cookie'/],
    [{ migrateFrom: {} as never }, /connectRedis/],
  ])('that contradict a migration are refused: %j', async (session, problem) => {
    const { redis, migrateFrom } = {
      redis: world.server.url,
      migrateFrom: connectRedis({ secrets: 'a' }),
    };
    const booted = startApp({ adapter: 'express', session: { redis, migrateFrom, ...session } });
    await expect(booted).rejects.toThrow(problem);
  });

  it('belong to an application', async () => {
    await expect(async () => connectRedis({ secrets: 'a' }).remaining()).rejects.toThrow(
      /migrateFrom/,
    );
  });
});
