import { afterEach, describe, expect, it } from '@jest/globals';
import {
  MemorySessionStore,
  SessionModule,
  SessionService,
  SessionStoreUnavailableError,
  SESSION_STORE,
  type SessionModuleOptions,
  type SessionStore,
} from 'nestjs-distributed-session';
import { sealedCookie, type SealedCookieOptions } from 'nestjs-distributed-session/cookie';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { MemoryRevocations } from '../../lib/stores/carried/memory-revocations.js';
import { ADAPTERS, Latch, SECRET, startApp, type TestApp } from '../support/app.js';
import {
  Browser,
  CarriedAdmin,
  CarriedShop,
  cookieLengths,
  noise,
} from '../support/carried-app.js';
import { parseSetCookie } from '../support/http-client.js';

const OTHER_SECRET = 'Qm3vT7zLw9XcB2nRk5yUe8HsPf4JdA6g';
const NAME = '__Host-session';

const opened: { close(): unknown }[] = [];

afterEach(async () => {
  CarriedShop.latch = undefined;
  for (const one of opened.splice(0).toReversed()) await one.close();
});

const kept = <T extends { close(): unknown }>(one: T): T => {
  opened.push(one);
  return one;
};

describe.each(ADAPTERS)('a sealed cookie on %s', (adapter) => {
  const clock = new FakeClock();

  const start = async (
    session: Partial<SessionModuleOptions> = {},
    cookie: SealedCookieOptions = { revocation: 'memory' },
    imports: Parameters<typeof startApp>[0]['imports'] = [],
  ): Promise<TestApp> =>
    kept(
      await startApp({
        adapter,
        controllers: [CarriedShop, ...(imports.length > 0 ? [CarriedAdmin] : [])],
        imports,
        session: { secret: SECRET, clock, store: sealedCookie(cookie), ...session },
      }),
    );
  const browse = ({ port }: TestApp, cookies: Iterable<[string, string]> = []) =>
    kept(new Browser(port, cookies));
  const visit = async (...how: Parameters<typeof start>) => browse(await start(...how));
  const steal = (browser: Browser) => kept(browser.stolen());

  describe('is a session as any other', () => {
    it('keeps a cart through a login, under a new id', async () => {
      const browser = await visit();
      expect((await browser.get('/me')).setCookie).toEqual([]);
      await browser.post('/cart', { json: { sku: 'a' } });
      const before = await browser.me();
      await browser.login();
      const after = await browser.me();
      expect(after).toMatchObject({ principal: 'alice', roles: ['buyer'], cart: [{ sku: 'a' }] });
      expect(after.id).not.toBe(before.id);
      expect((await browser.get('/private')).json).toEqual({ principal: 'alice' });
    });

    it('has one cookie, of which nothing can be read, with the attributes of any session', async () => {
      const browser = await visit();
      await browser.post('/cart', { json: { sku: 'a' } });
      const { setCookie, headers } = await browser.login();
      expect(setCookie).toHaveLength(1);
      const cookie = parseSetCookie(setCookie[0] as string);
      expect(cookie).toMatchObject({
        name: NAME,
        attributes: { path: '/', httponly: '', secure: '', samesite: 'Lax' },
      });
      expect(cookie.value).toMatch(/^[\w-]+$/);
      expect(Buffer.from(cookie.value, 'base64url').toString('latin1')).not.toMatch(/alice|sku/);
      expect(headers['cache-control']).toBe('no-store');
      expect(headers.vary).toMatch(/^Cookie$/i);
    });

    it('is not sent again by an answer that changes nothing, until it is due', async () => {
      const browser = await visit({ idleTimeout: '30m', touchAfter: '60s' });
      await browser.login();
      expect((await browser.get('/me')).setCookie).toEqual([]);
      clock.advance('59s');
      expect((await browser.get('/me')).setCookie).toEqual([]);
      clock.advance('2s');
      expect((await browser.get('/me')).setCookie).toHaveLength(1);
      expect((await browser.get('/nothing')).setCookie).toEqual([]);
    });

    it('ends when it is not used for its idle window, also for who kept the cookie', async () => {
      const browser = await visit({ idleTimeout: '30m' });
      await browser.login();
      clock.advance('29m');
      expect(await browser.principal()).toBe('alice');
      clock.advance('29m');
      expect(await browser.principal()).toBe('alice');
      const copy = steal(browser);
      clock.advance(1_800_000);
      const answer = await browser.get('/me');
      expect(answer.json.principal).toBeNull();
      expect(parseSetCookie(answer.setCookie[0] as string).attributes['max-age']).toBe('0');
      expect(await copy.principal()).toBeNull();
    });

    it('ends at its absolute end however active it is', async () => {
      const browser = await visit({ idleTimeout: '30m', absoluteTimeout: '1h' });
      await browser.login();
      for (let i = 0; i < 2; i++) {
        clock.advance('25m');
        expect(await browser.principal()).toBe('alice');
      }
      clock.advance('10m');
      expect(await browser.principal()).toBeNull();
    });

    it('outlives the browser if it was to be remembered', async () => {
      const browser = await visit();
      const { setCookie } = await browser.login({ rememberMe: true });
      const { attributes } = parseSetCookie(setCookie[0] as string);
      expect(attributes['max-age']).toBe(String(30 * 86_400));
      clock.advance('13d');
      expect(await browser.principal()).toBe('alice');
    });

    it('leaves flash messages once', async () => {
      const browser = await visit();
      await browser.post('/flash');
      expect((await browser.get('/flash')).json).toEqual({ notes: ['saved'] });
      expect((await browser.get('/flash')).json).toEqual({ notes: [] });
    });

    it('knows factors and how fresh a login is', async () => {
      const browser = await visit();
      await browser.login();
      expect((await browser.get('/vault')).json.code).toBe('SESSION_STEP_UP_REQUIRED');
      const before = (await browser.me()).id;
      await browser.post('/elevate');
      expect((await browser.get('/vault')).status).toBe(200);
      expect((await browser.me()).id).not.toBe(before);
      clock.advance('6m');
      expect((await browser.get('/fresh')).status).toBe(401);
    });

    it('has CSRF tokens that survive a new id', async () => {
      const browser = await visit({ csrf: { token: 'always' } });
      await browser.login();
      const { token } = (await browser.get('/csrf')).json;
      await browser.post('/regenerate');
      const headers = { 'x-csrf-token': String(token) };
      expect((await browser.post('/transfer')).status).toBe(403);
      expect((await browser.post('/transfer', { headers })).status).toBe(204);
    });

    it('goes by a header as well', async () => {
      const app = await start({ transport: ['x-auth-token', 'cookie'] });
      const client = browse(app);
      const { headers, setCookie } = await client.login();
      expect(setCookie).toEqual([]);
      const token = { 'x-auth-token': headers['x-auth-token'] as string };
      expect((await client.get('/me', { headers: token })).json.principal).toBe('alice');
    });

    it('stands beside sessions of another name, whose cookie is none of it', async () => {
      const app = await start({}, {}, [SessionModule.forFeature('admin')]);
      const browser = browse(app);
      await browser.login();
      expect((await browser.get('/admin/me')).json.principal).toBeNull();
      await browser.post('/admin/login');
      expect([...browser.jar.keys()]).toEqual([NAME, `${NAME}-admin`]);
      expect((await browser.get('/admin/me')).json.principal).toBe('root');
      expect(await browser.principal()).toBe('alice');
      const [own, admin] = [...browser.jar.values()] as [string, string];
      const swapped = browse(app, [
        [NAME, admin],
        [`${NAME}-admin`, own],
      ]);
      expect(await swapped.principal()).toBeNull();
      expect((await swapped.get('/admin/me')).json.principal).toBeNull();
    });
  });

  describe('respects what browsers keep', () => {
    it('is in as many cookies as it takes, none above 4096 bytes, and reads them in any order', async () => {
      const app = await start();
      const browser = browse(app);
      await browser.login();
      const answer = await browser.post('/set', { json: { big: noise(9_000) } });
      expect(answer.setCookie.length).toBe(3);
      expect(Math.max(...cookieLengths(answer))).toBeLessThanOrEqual(4_096);
      expect(answer.headers.vary).toMatch(/^Cookie$/i);
      expect(await browser.principal()).toBe('alice');
      const shuffled = browse(app, [...browser.jar].toReversed());
      expect(await shuffled.principal()).toBe('alice');
    });

    it('clears what is left of a longer one, and all of it at logout', async () => {
      const browser = await visit();
      await browser.login();
      await browser.post('/set', { json: { big: noise(9_000) } });
      expect([...browser.jar.keys()]).toEqual([NAME, `${NAME}.1`, `${NAME}.2`]);
      await browser.post('/unset', { json: { big: 1 } });
      expect([...browser.jar.keys()]).toEqual([NAME]);
      expect(await browser.principal()).toBe('alice');
      await browser.post('/set', { json: { big: noise(9_000) } });
      await browser.post('/logout');
      expect(browser.jar.size).toBe(0);
    });

    it('refuses what does not fit, and names the largest attributes, never their values', async () => {
      const browser = await visit();
      await browser.login();
      await browser.post('/set', { json: { colour: 'green' } });
      const cookies = browser.cookieHeader;
      const values = { basket: noise(11_000), recent: noise(3_000, 7), colour: 'red' };
      const answer = await browser.post('/set', { json: values });
      expect(answer.status).toBe(413);
      expect(answer.setCookie).toEqual([]);
      expect(answer.json.code).toBe('SESSION_TOO_LARGE');
      expect(answer.json.message).toMatch(
        /^The session would take \d+ bytes, the limit is \d+; the largest in it are "basket" \(\d+ bytes\), "recent" \(\d+ bytes\), principal.*: keep large values elsewhere and store a reference, raise "maxChunks"/,
      );
      expect(answer.text).not.toContain(values.basket.slice(0, 12));
      expect(browser.cookieHeader).toBe(cookies);
      expect(await browser.principal()).toBe('alice');
    });

    it('takes more where `maxChunks` says so', async () => {
      const browser = await visit({}, { maxChunks: 1 });
      expect((await browser.post('/set', { json: { big: noise(4_000) } })).status).toBe(413);
      const roomier = await visit({}, { maxChunks: 4 });
      const answer = await roomier.post('/set', { json: { big: noise(12_000) } });
      expect(answer.status).toBe(200);
      expect(answer.setCookie.length).toBe(4);
    });

    it('is compressed, unless it is small or that is switched off', async () => {
      const lengthWith = async (cookie: SealedCookieOptions, length: number) => {
        const browser = await visit({}, cookie);
        await browser.post('/set', { json: { text: 'ab'.repeat(length / 2) } });
        expect((await browser.get('/me')).json.isNew).toBe(false);
        return browser.token.length;
      };
      expect(await lengthWith({}, 3_000)).toBeLessThan(700);
      expect(await lengthWith({ compressAbove: false }, 3_000)).toBeGreaterThan(4_000);
      expect(await lengthWith({}, 400)).toBeGreaterThan(530);
    });
  });

  describe('is refused', () => {
    const refused = async (app: TestApp, jar: Iterable<[string, string]>) => {
      const browser = browse(app, jar);
      const answer = await browser.get('/private');
      expect(answer.status).toBe(401);
      return answer;
    };
    const loggedIn = async (session: Partial<SessionModuleOptions> = {}) => {
      const rejections: string[] = [];
      const onRejected = ({ reason }: { reason: string }) => rejections.push(reason);
      const app = await start({ onRejected, ...session });
      const browser = browse(app);
      await browser.login();
      return { app, browser, rejections };
    };

    it('forged', async () => {
      const { app, rejections } = await loggedIn();
      const answer = await refused(app, [[NAME, 'A'.repeat(300)]]);
      expect(answer.setCookie).toEqual([]);
      await refused(app, [[NAME, '']]);
      await refused(app, [[NAME, '2.']]);
      await refused(app, [[NAME, `99.${'A'.repeat(300)}`]]);
      expect(new Set(rejections)).toEqual(new Set(['malformed']));
    });

    it('made with another secret', async () => {
      const { browser } = await loggedIn({ secret: OTHER_SECRET });
      const { app } = await loggedIn();
      await refused(app, browser.jar);
    });

    it('truncated, at whatever end', async () => {
      const { app, browser } = await loggedIn();
      for (const cut of [1, 2, 16, 100]) {
        await refused(app, [[NAME, browser.token.slice(0, -cut)]]);
        await refused(app, [[NAME, browser.token.slice(cut)]]);
      }
    });

    it('with any bit flipped', async () => {
      const { app, browser } = await loggedIn();
      const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
      const { token } = browser;
      const step = Math.max(1, Math.floor(token.length / 60));
      for (let at = 0; at < token.length; at += step) {
        const sixtet = ALPHABET.indexOf(token[at] as string) ^ (1 << (at % 6));
        const flipped = token.slice(0, at) + ALPHABET[sixtet] + token.slice(at + 1);
        await refused(app, [[NAME, flipped]]);
      }
      // The last character has bits that count for nothing: spelled so it is another one all the same.
      const last = ALPHABET.indexOf(token.at(-1) as string);
      for (let bit = 0; bit < 6; bit++) {
        await refused(app, [[NAME, token.slice(0, -1) + ALPHABET[last ^ (1 << bit)]]]);
      }
    });

    it('with its cookies swapped, one missing, one of another session, or more than there are', async () => {
      const { app, browser } = await loggedIn();
      const other = browse(app);
      for (const one of [browser, other]) {
        await one.login();
        await one.post('/set', { json: { big: noise(9_000) } });
      }
      const [a, b, c] = [...browser.jar.values()] as [string, string, string];
      const [, foreign] = [...other.jar.values()] as [string, string];
      const jar = (...parts: string[]): [string, string][] =>
        parts.map((part, i) => [i === 0 ? NAME : `${NAME}.${i}`, part]);
      expect((await browse(app, jar(a, b, c)).get('/private')).status).toBe(200);
      await refused(app, jar(a, c, b));
      await refused(app, jar(a, b));
      await refused(app, jar(a, foreign, c));
      await refused(app, jar(a.replace('3.', '2.'), b, c));
      await refused(app, jar(a.replace('3.', ''), b, c));
      // What is left over of a longer one counts for nothing.
      const small = browse(app);
      await small.login();
      const left: [string, string][] = [[NAME, small.token], ...jar(a, b, c).slice(1)];
      expect((await browse(app, left).get('/private')).status).toBe(200);
    });

    it('under another name', async () => {
      const { browser } = await loggedIn({ cookie: { name: '__Host-other' } });
      const { app } = await loggedIn();
      await refused(app, [[NAME, browser.token]]);
    });

    it('if two of different sessions come', async () => {
      const { app, browser, rejections } = await loggedIn();
      const other = browse(app);
      await other.login({ as: 'mallory' });
      const headers = { cookie: `${NAME}=${browser.token}; ${NAME}=${other.token}` };
      expect((await browse(app).get('/private', { headers })).status).toBe(401);
      expect(rejections).toContain('ambiguous');
      const twice = { cookie: `${NAME}=forged; ${NAME}=${browser.token}` };
      expect((await browse(app).get('/private', { headers: twice })).status).toBe(200);
    });

    it('replayed after the logout', async () => {
      const { browser } = await loggedIn();
      const copy = steal(browser);
      expect(await copy.principal()).toBe('alice');
      await browser.post('/logout');
      expect(browser.jar.size).toBe(0);
      const answer = await copy.get('/private');
      expect(answer.status).toBe(401);
      expect(copy.jar.size).toBe(0);
    });

    it('in all copies and on all devices after revokeAll, but for later logins', async () => {
      const { app, browser } = await loggedIn();
      const phone = browse(app);
      const bob = browse(app);
      await phone.login();
      await bob.login({ as: 'bob' });
      await browse(app).post('/revoke-all', { json: { of: 'alice' } });
      expect(await browser.principal()).toBeNull();
      expect(await phone.principal()).toBeNull();
      expect(await bob.principal()).toBe('bob');
      await phone.login();
      expect(await phone.principal()).toBe('alice');
      await phone.post('/elevate');
      expect(await phone.principal()).toBe('alice');
    });

    it('on all other devices after revokeOthers, also when this one has got a new id', async () => {
      const { app, browser } = await loggedIn();
      const phone = browse(app);
      await phone.login();
      await browser.post('/revoke-others');
      expect(await phone.principal()).toBeNull();
      expect(await browser.principal()).toBe('alice');
      await browser.post('/regenerate');
      expect(await browser.principal()).toBe('alice');
    });

    it('after revokeAll in a request that logs in anew: only the new one lives', async () => {
      const { app, browser } = await loggedIn();
      const phone = browse(app);
      await phone.login();
      const copy = steal(browser);
      await browser.post('/change-password');
      expect(await browser.principal()).toBe('alice');
      expect(await phone.principal()).toBeNull();
      expect(await copy.principal()).toBeNull();
    });

    it('in the middle of what is on its way: a step-up does not outlive revokeAll', async () => {
      const { app, browser } = await loggedIn();
      const slow = steal(browser);
      CarriedShop.latch = new Latch();
      const { latch } = CarriedShop;
      const answer = slow.post('/slow-elevate');
      await latch.reached;
      await browse(app).post('/revoke-all', { json: { of: 'alice' } });
      latch.open();
      expect((await answer).status).toBe(204);
      expect(await slow.principal()).toBeNull();
    });

    it('by its handle, from outside, once', async () => {
      const { app, browser } = await loggedIn();
      const handle = (await browser.me()).id;
      const admin = browse(app);
      expect((await admin.post('/revoke', { json: { handle } })).json).toEqual({ ended: true });
      expect((await admin.post('/revoke', { json: { handle } })).json).toEqual({ ended: false });
      expect(await browser.principal()).toBeNull();
    });

    it('by an older handle, wherever it has gone since', async () => {
      const { app, browser } = await loggedIn();
      const handle = (await browser.me()).id;
      await browser.post('/regenerate');
      expect((await browse(app).post('/revoke', { json: { handle } })).json.ended).toBe(true);
      expect(await browser.principal()).toBeNull();
    });

    it('when who acts as another is ended', async () => {
      const { app, browser } = await loggedIn();
      await browser.post('/act');
      expect(await browser.principal()).toBe('bob');
      const copy = steal(browser);
      await browse(app).post('/revoke-all', { json: { of: 'alice' } });
      expect(await copy.principal()).toBeNull();
    });

    it('from before a login: it never becomes the session after it', async () => {
      const app = await start();
      const attacker = browse(app);
      await attacker.post('/cart', { json: { sku: 'planted' } });
      const victim = kept(attacker.stolen());
      await victim.login();
      expect(await victim.principal()).toBe('alice');
      expect(await attacker.principal()).toBeNull();
      clock.advance('1m');
      expect(await attacker.principal()).toBeNull();
      expect(await victim.principal()).toBe('alice');
    });

    it('from before a new id once the grace is over; until then requests in flight go on', async () => {
      const { browser, rejections } = await loggedIn({ regenerateGrace: '30s' });
      const old = steal(browser);
      const flying = steal(browser);
      await browser.post('/regenerate');
      const { id } = await browser.me();
      expect((await old.get('/me')).setCookie).toEqual([]);
      await flying.post('/cart', { json: { sku: 'late' } });
      // It comes back under the id that the others have got.
      expect(await flying.me()).toMatchObject({ id, principal: 'alice', cart: [{ sku: 'late' }] });
      clock.advance('31s');
      expect((await old.get('/private')).status).toBe(401);
      expect(rejections).toContain('replayed');
      expect(await browser.principal()).toBe('alice');
    });

    it('and takes the session that goes on with it where `onReplay` says so', async () => {
      const { browser } = await loggedIn({ onReplay: 'end' });
      const old = steal(browser);
      await browser.post('/regenerate');
      clock.advance('31s');
      expect(await old.principal()).toBeNull();
      expect(await browser.principal()).toBeNull();
    });
  });

  describe('with secrets that change', () => {
    it('opens by all of them, and is sealed by the first at once', async () => {
      const before = await visit({ secret: OTHER_SECRET });
      await before.login();
      const between = browse(await start({ secret: [SECRET, OTHER_SECRET] }), before.jar);
      expect((await between.get('/me')).setCookie).toHaveLength(1);
      expect(await between.principal()).toBe('alice');
      const after = browse(await start(), between.jar);
      expect(await after.principal()).toBe('alice');
      expect(await browse(await start(), before.jar).principal()).toBeNull();
    });
  });

  describe('when the list of what was revoked is down', () => {
    const broken = (down: { now: boolean }) => {
      const fail = () => {
        if (down.now) throw new SessionStoreUnavailableError('timeout');
      };
      const noted = new Map<string, string>();
      return {
        ask: async (handle: string) => (fail(), { entry: noted.get(handle), epochs: [] }),
        note: async (handle: string, entry: string) => {
          fail();
          const before = noted.get(handle);
          noted.set(handle, entry);
          return before;
        },
        begin: async () => fail(),
        ping: async () => fail(),
      };
    };

    it('answers 503, and neither sets nor clears the cookie; then it goes on', async () => {
      const down = { now: false };
      const app = await start({}, { revocation: broken(down) });
      const browser = browse(app);
      await browser.login();
      down.now = true;
      clock.advance('5m');
      for (const answer of [
        await browser.get('/me'),
        await browser.post('/cart', { json: {} }),
        await browser.post('/logout'),
      ]) {
        expect(answer.status).toBe(503);
        expect(answer.setCookie).toEqual([]);
        expect(answer.headers['retry-after']).toBe('1');
      }
      expect((await browser.login({ as: 'bob' })).status).toBe(503);
      down.now = false;
      expect(await browser.principal()).toBe('alice');
    });

    it('serves nobody unasked where a route goes on without a session', async () => {
      const down = { now: false };
      const app = await start({ onStoreFailure: 'anonymous' }, { revocation: broken(down) });
      const browser = browse(app);
      await browser.login();
      down.now = true;
      const answer = await browser.get('/me');
      expect(answer.json.principal).toBeNull();
      expect(answer.setCookie).toEqual([]);
      expect((await browser.get('/private')).status).not.toBe(200);
    });
  });

  describe('without a list', () => {
    it('says at boot that a logout reaches this browser only, and so it is', async () => {
      const app = await start({}, {});
      expect(app.logger.texts('warn')).toEqual([
        expect.stringContaining('Sessions cannot be revoked: a logout makes this browser forget'),
      ]);
      expect(app.logger.texts('log').join('\n')).toContain(
        'Sessions are carried by their clients (sealed cookie): of two changes at once the last answer wins, sessions cannot be listed, no events are told, sessions are not counted, a session can be used in requests of its client only, nothing can be revoked.',
      );
      const browser = browse(app);
      await browser.login();
      const copy = steal(browser);
      await browser.post('/logout');
      expect(await browser.principal()).toBeNull();
      expect(await copy.principal()).toBe('alice');
    });

    it('refuses to revoke instead of pretending', async () => {
      const app = await start({}, {});
      const browser = browse(app);
      await browser.login();
      const service = app.app.get(SessionService);
      const { id: handle } = (await browser.me()) as { id: string };
      const cannot = { name: 'SessionStoreCannotError', code: 'SESSION_UNAVAILABLE' };
      await expect(service.revoke(handle)).rejects.toMatchObject(cannot);
      await expect(service.forPrincipal('alice').revokeAll()).rejects.toMatchObject(cannot);
      await expect(service.revokeBy({ idpSession: 'x' })).rejects.toMatchObject(cannot);
      expect(await browser.principal()).toBe('alice');
    });
  });

  it('warns at boot of a list that only this process has, and of no other', async () => {
    const app = await start();
    expect(app.logger.texts('warn')).toEqual([
      expect.stringContaining('What was ended is known to this process only'),
    ]);
    const own = await start({}, { revocation: new MemoryRevocations(clock) });
    expect(own.logger.texts('warn')).toEqual([]);
  });

  it('says with a list, too, what nobody can do who has no store', async () => {
    const app = await start();
    const service = app.app.get(SessionService);
    const store = app.app.get<SessionStore>(SESSION_STORE);
    const browser = browse(app);
    await browser.login();
    const { id: handle } = (await browser.me()) as { id: string };
    const cannot = {
      name: 'SessionStoreCannotError',
      code: 'SESSION_UNAVAILABLE',
      message: expect.stringContaining('use a store on the server'),
    };
    const alice = service.forPrincipal('alice');
    for (const ask of [
      () => service.count(),
      () => service.find(handle),
      () => service.get('A'.repeat(44)),
      () => service.update(handle, () => undefined),
      () => service.touch(handle),
      () => service.create({ principal: 'bob' }),
      () => service.findBy('idpSession', 'x'),
      () => alice.list(),
      () => alice.count(),
      () => alice.updateGrants({ roles: [] }),
      () => alice.revoke(handle),
    ]) {
      await expect(ask()).rejects.toMatchObject(cannot);
    }
    await expect(service.revokeAllPrincipals()).rejects.toMatchObject({ name: cannot.name });
    expect(store.abilities).toMatchObject({ reachable: false, revocation: 'by-list' });
    await expect(service.ping()).resolves.toBeUndefined();
  });

  it('gives nobody else a name for a session that they could not find', async () => {
    const browser = await visit();
    await browser.login();
    const cannot = 'SessionStoreCannotError';
    expect(JSON.parse((await browser.get('/names')).text)).toEqual([cannot, cannot]);
  });

  it('ends by the session of an identity provider', async () => {
    const app = await start();
    const [one, other] = [browse(app), browse(app)];
    await one.login({ idpSession: 'idp-1' });
    await other.login({ idpSession: 'idp-2' });
    await app.app.get(SessionService).revokeBy({ idpSession: 'idp-1' });
    expect(await one.principal()).toBeNull();
    expect(await other.principal()).toBe('alice');
  });

  it('lets the last of two answers win, as it says', async () => {
    const browser = await visit();
    await browser.login();
    CarriedShop.latch = new Latch();
    const { latch } = CarriedShop;
    const slow = browser.post('/slow');
    await latch.reached;
    await browser.post('/cart', { json: { sku: 'a' } });
    latch.open();
    await slow;
    expect((await browser.me()).cart).toEqual([]);
  });
});

describe('options of a sealed cookie', () => {
  const boot = (session: SessionModuleOptions) =>
    startApp({ adapter: 'express', session: { secret: SECRET, ...session } }).then(kept);

  it.each<[string, SessionModuleOptions, RegExp]>([
    ['no secret', { secret: undefined }, /needs `secret`/],
    ['maxSessions', { maxSessions: 3 }, /maxSessions cannot hold/],
    ['indexes', { indexes: { tenant: () => 'a' } }, /indexes cannot be/],
    ['events', { events: true }, /events cannot be/],
    ['nearCache', { nearCache: true }, /nearCache has nothing to keep/],
    ['encryption', { encryption: true }, /encryption has nothing to do/],
    ['accounts', { accounts: 2 }, /accounts cannot be/],
    ['deviceBound', { deviceBound: true }, /deviceBound cannot hold/],
    ['durability', { durability: {} }, /durability is for the store in Redis/],
    ['renewalTimeout', { renewalTimeout: '15m' }, /renewalTimeout would do nothing/],
    ['onReplay', { onReplay: 'end' }, /onReplay and replayWindow would do nothing/],
  ])('%s is refused where it would not hold', async (_, session, problem) => {
    await expect(boot({ store: sealedCookie(), ...session })).rejects.toThrow(problem);
  });

  it('what holds with a list is taken with a list', async () => {
    const store = sealedCookie({ revocation: 'memory' });
    await boot({ store, renewalTimeout: '15m', onReplay: 'end' });
  });

  it.each<[string, object, RegExp]>([
    ['maxChunks', { maxChunks: 0 }, /maxChunks cannot be used/],
    ['compressAbove', { compressAbove: true }, /compressAbove cannot be used/],
    ['revocation', { revocation: {} }, /revocation cannot be used/],
    ['a name that is none', { chunks: 3 }, /chunks is no option: use revocation, maxChunks/],
  ])('%s is checked where it is written', (_, options, problem) => {
    expect(() => sealedCookie(options)).toThrow(problem);
  });

  it('a store of the application tells at boot what it lacks', async () => {
    const store = Object.assign(new MemorySessionStore(new FakeClock()), {
      abilities: { counted: false },
    });
    const app = await boot({ store });
    expect(app.logger.texts('log').join('\n')).toContain('The store: sessions are not counted.');
  });
});
