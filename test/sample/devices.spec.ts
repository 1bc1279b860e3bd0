import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Secret, TOTP, URI } from 'otpauth';
import { OneTimeCodes } from '../../sample/src/auth/one-time-codes.js';
import { AppProcess } from '../support/app-process.js';
import { HttpClient, parseSetCookie, type Answer } from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';
import { oneOf } from '../support/redis-under-test.js';
import { expectNoIds } from '../support/secrets.js';

const BOOT = 180_000;
const DAY = 24 * 60 * 60;
const ALICE = { username: 'alice', password: 'wonderland' };
const BOB = { username: 'bob', password: 'builder' };
const ADMIN = { username: 'admin', password: 'changeit' };
const SECRET = 'every-node-has-to-be-told-the-same-one';
/** Runs before the program: its clock is six minutes slow, so its logins are not fresh elsewhere. */
const SLOW_CLOCK = `--import=data:text/javascript,const%20now=Date.now;Date.now=()=>now()-360000`;

const totp = new TOTP({ secret: new Secret() });
const codeIn = (milliseconds: number) => totp.generate({ timestamp: Date.now() + milliseconds });
const wrongCode = () => {
  const codes = Array.from({ length: 10 }, (_, digit) => `${digit}`.repeat(6));
  return codes.find((token) => totp.validate({ token, window: 5 }) === null)!;
};

interface Device {
  handle: string;
  label?: string;
  client: { address?: string; browser?: string; os?: string };
  factors: string[];
  roles: string[];
  rememberMe: boolean;
  current: boolean;
}

describe.each(oneOf('express', 'fastify'))(
  'users, devices and access in the shop on %s',
  (adapter) => {
    let redis: RedisServer;
    let probe: RedisProbe;
    let app: AppProcess;
    let slow: AppProcess;
    const clients: HttpClient[] = [];

    beforeAll(async () => {
      redis = await RedisServer.start();
      probe = await RedisProbe.start(redis);
      const common = { ADAPTER: adapter, REDIS_URL: redis.url, SESSION_SECRET: SECRET };
      app = await AppProcess.start({ ...common, TOTP_SECRET: totp.secret.base32 });
      slow = await AppProcess.start({ ...common, NODE_OPTIONS: SLOW_CLOCK });
    }, BOOT);

    beforeEach(() => probe.client.flushall());
    afterEach(() => clients.splice(0).forEach((client) => client.close()));

    afterAll(async () => {
      await app?.stop();
      await slow?.stop();
      await probe?.stop();
      await redis?.stop();
    });

    /** A browser of its own; `at`: which node it asks. */
    const open = (cookies: Iterable<[string, string]> = [], at = app) => {
      const client = new HttpClient(at.port, cookies);
      clients.push(client);
      return client;
    };
    const logIn = async (credentials: object, headers = {}) => {
      const client = open();
      expect((await client.post('/auth/login', { json: credentials, headers })).status).toBe(200);
      return client;
    };
    /** Logged in six minutes ago. */
    const loggedInBefore = async (credentials: object) => {
      const client = open([], slow);
      expect((await client.post('/auth/login', { json: credentials })).status).toBe(200);
      return open(client.jar);
    };
    const devicesOf = async (client: HttpClient) => {
      const answer = await client.get('/devices');
      expect(answer.status).toBe(200);
      return (answer.json as { devices: Device[] }).devices;
    };
    const current = async (client: HttpClient) =>
      (await devicesOf(client)).find((device) => device.current)!;
    const isLoggedIn = async (client: HttpClient) => (await client.get('/auth/me')).status === 200;

    describe('logging in', () => {
      it('remembered, the cookie outlives the browser, and the session lasts for days', async () => {
        const login = { ...ALICE, rememberMe: true, label: 'Kitchen tablet' };
        const client = open();
        const answer = await client.post('/auth/login', { json: login });
        expect(answer.json).toEqual({ principal: 'alice', roles: [] });
        const { attributes } = parseSetCookie(answer.setCookie[0]!);
        expect(Number(attributes['max-age'])).toBeGreaterThan(13 * DAY);
        const { remainingMs } = (await client.get('/session')).json;
        expect(remainingMs).toBeGreaterThan(13 * DAY * 1_000);
        expect(await current(client)).toMatchObject({ label: 'Kitchen tablet', rememberMe: true });
      });

      it('not remembered, the cookie ends with the browser', async () => {
        for (const more of [{}, { rememberMe: false }, { rememberMe: null, label: null }]) {
          const client = open();
          const answer = await client.post('/auth/login', { json: { ...ALICE, ...more } });
          const { attributes } = parseSetCookie(answer.setCookie[0]!);
          expect(attributes).toEqual({ path: '/', httponly: '', samesite: 'Lax' });
          const device = await current(client);
          expect(device).toMatchObject({ rememberMe: false, factors: ['pwd'] });
          expect(device.label).toBeUndefined();
        }
      });

      it('once more keeps what the device is called, and that it is remembered', async () => {
        const client = await logIn({ ...ALICE, rememberMe: true, label: 'Kitchen tablet' });
        await client.post('/auth/login', { json: ALICE });
        expect(await devicesOf(client)).toMatchObject([
          { label: 'Kitchen tablet', rememberMe: true },
        ]);
        await client.post('/auth/login', { json: { ...ALICE, rememberMe: false, label: 'Mine' } });
        expect(await devicesOf(client)).toMatchObject([{ label: 'Mine', rememberMe: false }]);
        await client.post('/auth/login', { json: { ...BOB } });
        expect((await current(client)).label).toBeUndefined();
      });

      it.each([
        ['a text for remember me', { rememberMe: 'yes' }],
        ['an empty name of the device', { label: '' }],
        ['a very long name of the device', { label: 'x'.repeat(65) }],
        ['an object for a name of the device', { label: {} }],
      ])('with %s is a bad request', async (_, more) => {
        const answer = await open().post('/auth/login', { json: { ...ALICE, ...more } });
        expect(answer.status).toBe(400);
        expect(answer.setCookie).toEqual([]);
      });
    });

    describe('devices', () => {
      const FIREFOX = {
        'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
      };

      it('are listed with software and address, the newest login first, and tell no id', async () => {
        const first = await logIn(ALICE, FIREFOX);
        const second = await logIn({ ...ALICE, label: 'Phone' }, { 'user-agent': 'curl/8.5.0' });
        await logIn(BOB);
        const answer = await first.get('/devices');
        expect(answer.headers['cache-control']).toBe('no-store');
        expect((answer.json as { devices: Device[] }).devices).toMatchObject([
          { label: 'Phone', current: false, client: { address: '127.0.0.1', browser: 'curl 8' } },
          { current: true, client: { address: '127.0.0.1', browser: 'Firefox 145', os: 'Linux' } },
        ]);
        expectNoIds('the list of devices', [answer.text]);
        expect((await current(second)).label).toBe('Phone');
      });

      it('need somebody who is logged in', async () => {
        const client = open();
        await client.post('/counter');
        for (const answer of [
          await client.get('/devices'),
          await client.send('DELETE', '/devices/x'),
          await client.send('PATCH', '/devices/x', { json: { label: 'x' } }),
          await client.post('/devices/revoke-others'),
        ]) {
          expect(answer.status).toBe(401);
          expect(answer.json).toMatchObject({ code: 'SESSION_REQUIRED' });
        }
      });

      it('may be asked for all the time: that does not make the session last longer', async () => {
        const { jar } = await logIn(ALICE);
        const [key] = await probe.client.keys('*:s:*');
        await probe.client.pexpire(key!, 600_000);
        // A node that has not seen the session yet would extend it at once.
        const elsewhere = open(jar, slow);
        await elsewhere.get('/devices');
        const remaining = async () => (await elsewhere.get('/session')).json.remainingMs;
        expect(await remaining()).toBeLessThanOrEqual(600_000);
        await elsewhere.get('/cart');
        expect(await remaining()).toBeGreaterThan(600_000);
      });

      it('are signed out by their handle, once', async () => {
        const [mine, other] = [await logIn(ALICE), await logIn(ALICE)];
        const { handle } = await current(other);
        const answer = await mine.send('DELETE', `/devices/${handle}`);
        expect([answer.status, answer.text]).toEqual([204, '']);
        const refused = await other.get('/auth/me');
        expect(refused.status).toBe(401);
        expect(other.jar.size).toBe(0);
        const again = await mine.send('DELETE', `/devices/${handle}`);
        expect(again.status).toBe(404);
        expect(again.json).toMatchObject({ statusCode: 404, code: 'NO_SUCH_DEVICE' });
        expect(await devicesOf(mine)).toHaveLength(1);
      });

      it('of others are as absent as those that nobody has', async () => {
        const [mine, bobs] = [await logIn(ALICE), await logIn({ ...BOB, label: 'Bob’s' })];
        const { handle: own } = await current(mine);
        const { handle } = await current(bobs);
        const unknown = own.slice(0, -4) + 'AAAA';
        const handles = [handle, unknown, own.slice(0, 2), `${own}x`, own.slice(0, 9), '__proto__'];
        for (const one of [...handles, 'a%2Fb', '%00', `${own.slice(0, 2)}%0Ax`]) {
          for (const method of ['DELETE', 'PATCH']) {
            const answer = await mine.send(method, `/devices/${one}`, { json: { label: 'Hers' } });
            expect([method, one, answer.status]).toEqual([method, one, 404]);
          }
        }
        expect((await current(bobs)).label).toBe('Bob’s');
        expect(await isLoggedIn(mine)).toBe(true);
      });

      it('the own one is logged out, cookie and all', async () => {
        const [mine, other] = [await logIn(ALICE), await logIn(ALICE)];
        const cookies = [...mine.jar];
        const { handle } = await current(mine);
        expect((await mine.send('DELETE', `/devices/${handle}`)).status).toBe(204);
        expect(mine.jar.size).toBe(0);
        expect(await isLoggedIn(open(cookies))).toBe(false);
        expect(await isLoggedIn(other)).toBe(true);
      });

      it('all others are signed out at once', async () => {
        const mine = await logIn(ALICE);
        const others = [await logIn(ALICE), await logIn({ ...ALICE, rememberMe: true })];
        const bobs = await logIn(BOB);
        const answer = await mine.post('/devices/revoke-others');
        expect(answer.status).toBe(200);
        expect(answer.json).toEqual({ revoked: 2 });
        for (const other of others) expect(await isLoggedIn(other)).toBe(false);
        expect(await isLoggedIn(mine)).toBe(true);
        expect(await isLoggedIn(bobs)).toBe(true);
        expect((await mine.post('/devices/revoke-others')).json).toEqual({ revoked: 0 });
      });

      it('get names, also while they are in use', async () => {
        const [mine, other] = [await logIn(ALICE), await logIn(ALICE)];
        for (const client of [mine, other]) {
          const { handle } = await current(client);
          const answer = await mine.send('PATCH', `/devices/${handle}`, {
            json: { label: 'Ours' },
          });
          expect([answer.status, answer.text]).toEqual([204, '']);
        }
        expect(await devicesOf(mine)).toMatchObject([{ label: 'Ours' }, { label: 'Ours' }]);
        const { handle } = await current(other);
        for (const json of [{}, { label: '' }, { label: 7 }, { label: 'x'.repeat(65) }]) {
          expect((await mine.send('PATCH', `/devices/${handle}`, { json })).status).toBe(400);
        }
      });

      it('other sites cannot sign them out', async () => {
        const [mine, other] = [await logIn(ALICE), await logIn(ALICE)];
        const { handle } = await current(other);
        const headers = { 'sec-fetch-site': 'cross-site' };
        expect((await mine.send('DELETE', `/devices/${handle}`, { headers })).status).toBe(403);
        expect((await mine.post('/devices/revoke-others', { headers })).status).toBe(403);
        expect(await isLoggedIn(other)).toBe(true);
      });
    });

    describe('a code as a further factor', () => {
      const elevate = (client: HttpClient, code: unknown) =>
        client.post('/auth/elevate', { json: { code } });

      it('counts once, under a new id', async () => {
        const client = await logIn({ ...ALICE, label: 'Phone' });
        await client.post('/counter');
        const before = [...client.jar];
        const code = codeIn(0);
        const answer = await elevate(client, code);
        expect(answer.status).toBe(200);
        expect(answer.json).toEqual({ principal: 'alice', roles: [], factors: ['pwd', 'otp'] });
        expect([...client.jar]).not.toEqual(before);
        expect(await isLoggedIn(open(before))).toBe(false);
        expect((await client.get('/counter')).json).toEqual({ count: 1 });
        expect(await devicesOf(client)).toMatchObject([
          { label: 'Phone', factors: ['pwd', 'otp'] },
        ]);

        const again = await elevate(await logIn(ALICE), code);
        expect(again.status).toBe(401);
        expect(again.json).toMatchObject({ statusCode: 401, code: 'WRONG_CODE' });
        expect(again.setCookie).toEqual([]);
        expect((await elevate(client, codeIn(30_000))).status).toBe(200);
        expect((await elevate(client, code)).status).toBe(401);
      });

      it('must look like one, and belong to somebody who is logged in', async () => {
        const client = await logIn(ALICE);
        for (const code of [undefined, '', '12345', '1234567', 'abcdef', 123_456, null, {}]) {
          expect((await elevate(client, code)).status).toBe(400);
        }
        const refused = await elevate(open(), codeIn(0));
        expect(refused.status).toBe(401);
        expect(refused.json).toMatchObject({ code: 'SESSION_REQUIRED' });
      });

      it('cannot be guessed: after five wrong ones even the right one is refused', async () => {
        const client = await logIn(BOB);
        for (let i = 0; i < 5; i++) {
          const wrong = await elevate(client, wrongCode());
          expect(wrong.status).toBe(401);
          expect(wrong.json).toMatchObject({ code: 'WRONG_CODE' });
        }
        const answer = await elevate(await logIn(BOB), codeIn(0));
        expect(answer.status).toBe(429);
        expect(answer.json).toMatchObject({ statusCode: 429, code: 'TOO_MANY_CODES' });
        expect((await current(client)).factors).toEqual(['pwd']);
      });

      it('opens what needs it: the account is deleted from all devices', async () => {
        const [mine, other, bobs] = [await logIn(ADMIN), await logIn(ADMIN), await logIn(BOB)];
        const refused = await mine.post('/account/delete');
        expect(refused.status).toBe(401);
        expect(refused.json).toMatchObject({
          code: 'SESSION_STEP_UP_REQUIRED',
          stepUp: { factors: ['otp'] },
        });
        expect(refused.headers['www-authenticate']).toContain('factor="otp"');
        expect(await isLoggedIn(mine)).toBe(true);

        await elevate(mine, codeIn(0));
        expect((await other.post('/account/delete')).status).toBe(401);
        const deleted = await mine.post('/account/delete');
        expect(deleted.status).toBe(200);
        expect(deleted.json).toEqual({ deleted: true });
        expect(mine.jar.size).toBe(0);
        expect(await isLoggedIn(other)).toBe(false);
        expect(await isLoggedIn(bobs)).toBe(true);
        // A login proves anew: the code does not count for it.
        expect((await current(await logIn(ADMIN))).factors).toEqual(['pwd']);
      });

      it('does nothing for who is not logged in', async () => {
        const answer = await open().post('/account/delete');
        expect(answer.json).toMatchObject({ statusCode: 401, code: 'SESSION_REQUIRED' });
      });
    });

    describe('the e-mail address', () => {
      const change = (client: HttpClient, email: unknown) =>
        client.post('/account/email', { json: { email } });

      it('is changed shortly after a login, and known on all devices', async () => {
        const [mine, other] = [await logIn(ALICE), await logIn(ALICE)];
        const answer = await change(mine, 'alice@new.example');
        expect(answer.status).toBe(200);
        expect(answer.json).toEqual({ email: 'alice@new.example' });
        const shown = await other.get('/account');
        expect(shown.json).toEqual({ principal: 'alice', email: 'alice@new.example' });
        for (const email of ['', 'alice', 7, undefined, `${'x'.repeat(300)}@new.example`]) {
          expect((await change(mine, email)).status).toBe(400);
        }
      });

      it('needs the password again if that was longer ago; a code does not help', async () => {
        const client = await loggedInBefore(BOB);
        expect(await isLoggedIn(client)).toBe(true);
        const refused = await change(client, 'bob@new.example');
        expect(refused.status).toBe(401);
        expect(refused.json).toMatchObject({
          code: 'SESSION_STEP_UP_REQUIRED',
          stepUp: { maxAge: 300 },
        });
        expect(refused.headers['www-authenticate']).toContain('max_age="300"');
        expect((await client.get('/account')).json).toMatchObject({ email: 'bob@shop.example' });

        await client.post('/auth/login', { json: BOB });
        expect((await change(client, 'bob@new.example')).json).toEqual({
          email: 'bob@new.example',
        });
        expect(await devicesOf(client)).toHaveLength(1);
      });

      it('is nobody’s who is not logged in', async () => {
        for (const answer of [await open().get('/account'), await change(open(), 'a@b.example')]) {
          expect(answer.json).toMatchObject({ statusCode: 401, code: 'SESSION_REQUIRED' });
        }
      });
    });

    describe('administrators', () => {
      const setRoles = (client: HttpClient, name: string, roles: unknown) =>
        client.send('PUT', `/admin/users/${name}/roles`, { json: { roles } });

      it('see the sessions of a user, and end them', async () => {
        const [admin, ...bobs] = [await logIn(ADMIN), await logIn(BOB), await logIn(BOB)];
        const listed = await admin.get('/admin/users/bob/sessions');
        expect(listed.status).toBe(200);
        expect(listed.json.sessions).toMatchObject([{ principal: 'bob' }, { principal: 'bob' }]);
        expectNoIds('the list of sessions', [listed.text]);
        const ended = await admin.send('DELETE', '/admin/users/bob/sessions');
        expect(ended.status).toBe(200);
        expect(ended.json).toEqual({ revoked: 2 });
        for (const one of bobs) expect(await isLoggedIn(one)).toBe(false);
        expect((await admin.get('/admin/users/bob/sessions')).json).toEqual({ sessions: [] });
        expect((await admin.get('/admin/users/nobody/sessions')).json).toEqual({ sessions: [] });
        expect(await isLoggedIn(admin)).toBe(true);
      });

      it('give roles that count at once, in all sessions, and at the next login', async () => {
        const [admin, ...bobs] = [await logIn(ADMIN), await logIn(BOB), await logIn(BOB)];
        await bobs[0]!.post('/cart/items', { json: { sku: 'mug', qty: 1 } });
        const before = [...bobs[0]!.jar];
        expect((await setRoles(admin, 'bob', ['admin', 'editor'])).json).toEqual({ changed: 2 });
        for (const one of [...bobs, await logIn(BOB)]) {
          expect((await one.get('/auth/me')).json.roles).toEqual(['admin', 'editor']);
          expect((await one.get('/admin/users/alice/sessions')).status).toBe(200);
        }
        expect([...bobs[0]!.jar]).not.toEqual(before);
        expect((await bobs[0]!.get('/cart')).json).toEqual({ items: [{ sku: 'mug', qty: 1 }] });

        expect((await setRoles(admin, 'bob', [])).json).toEqual({ changed: 3 });
        for (const one of [...bobs, await logIn(BOB)]) {
          expect((await one.get('/auth/me')).json.roles).toEqual([]);
          expect((await one.get('/admin/users/alice/sessions')).status).toBe(403);
        }
      });

      it('are told what is no user and what are no roles', async () => {
        const admin = await logIn(ADMIN);
        for (const name of ['mallory', '__proto__']) {
          const answer = await setRoles(admin, name, ['editor']);
          expect(answer.status).toBe(404);
          expect(answer.json).toMatchObject({ code: 'NO_SUCH_USER' });
        }
        for (const roles of [
          undefined,
          'admin',
          [''],
          [7],
          ['x'.repeat(33)],
          Array(17).fill('x'),
        ]) {
          expect((await setRoles(admin, 'alice', roles)).status).toBe(400);
        }
        expect((await (await logIn(ALICE)).get('/auth/me')).json.roles).toEqual([]);
      });

      it('only they are: others are refused, and change nothing', async () => {
        const [alice, bob] = [await logIn(ALICE), await logIn(BOB)];
        const ask = (client: HttpClient): Promise<Answer>[] => [
          client.get('/admin/users/bob/sessions'),
          client.send('DELETE', '/admin/users/bob/sessions'),
          setRoles(client, 'alice', ['admin']),
        ];
        for (const answer of await Promise.all(ask(alice))) {
          expect(answer.status).toBe(403);
          expect(answer.json).toMatchObject({ code: 'SESSION_FORBIDDEN' });
        }
        for (const answer of await Promise.all(ask(open()))) {
          expect(answer.status).toBe(401);
          expect(answer.json).toMatchObject({ code: 'SESSION_REQUIRED' });
        }
        expect(await isLoggedIn(bob)).toBe(true);
        expect((await alice.get('/auth/me')).json.roles).toEqual([]);
      });
    });

    it('no log line has a session id, or the secret of the codes', async () => {
      await logIn(ALICE);
      expectNoIds('the log', [app.log, slow.log]);
      expect(app.log).toContain('those of TOTP_SECRET');
      expect(app.log).not.toContain(totp.secret.base32);
    });
  },
);

describe('how the shop is told', () => {
  const started: AppProcess[] = [];
  const start = async (environment: Record<string, string>) => {
    const app = await AppProcess.start({ PATH: '/nowhere', ...environment });
    started.push(app);
    return app;
  };
  const logIn = async (app: AppProcess, json: object = ALICE) => {
    const client = new HttpClient(app.port);
    const { status } = await client.post('/auth/login', { json });
    return { status, client, me: async () => (await client.get('/auth/me')).status };
  };

  afterAll(() => Promise.all(started.map((app) => app.stop('SIGKILL'))));

  it('MAX_SESSIONS: the oldest login makes room, a login once more takes none', async () => {
    const app = await start({ MAX_SESSIONS: '2' });
    const [first, second] = [await logIn(app), await logIn(app)];
    expect((await second.client.post('/auth/login', { json: ALICE })).status).toBe(200);
    expect([await first.me(), await second.me()]).toEqual([200, 200]);
    const third = await logIn(app);
    expect([await first.me(), await second.me(), await third.me()]).toEqual([401, 200, 200]);
    expect((await logIn(app, BOB)).status).toBe(200);
    for (const { client } of [first, second, third]) client.close();
  });

  it('ON_LIMIT=reject: one login too many is refused, and leaves the visitor the cart', async () => {
    const app = await start({ MAX_SESSIONS: '1', ON_LIMIT: 'reject' });
    const first = await logIn(app);
    const visitor = new HttpClient(app.port);
    await visitor.post('/cart/items', { json: { sku: 'mug', qty: 1 } });
    const refused = await visitor.post('/auth/login', { json: ALICE });
    expect(refused.status).toBe(409);
    expect(refused.json).toMatchObject({ code: 'SESSION_LIMIT_REACHED' });
    expect((await visitor.get('/cart')).json).toEqual({ items: [{ sku: 'mug', qty: 1 }] });
    await first.client.post('/auth/logout');
    expect((await visitor.post('/auth/login', { json: ALICE })).status).toBe(200);
    first.client.close();
    visitor.close();
  });

  it('nothing: the log says how to get a code', async () => {
    const app = await start({});
    const lines = app.log.split('\n').filter((line) => line.includes('otpauth://'));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('a demo secret');
    const fromLog = URI.parse(/otpauth:\S+/.exec(lines[0]!)![0]) as TOTP;
    const { client } = await logIn(app);
    const json = { code: fromLog.generate() };
    expect((await client.post('/auth/elevate', { json })).status).toBe(200);
    client.close();
  });

  it.each([
    ['MAX_SESSIONS', 'many', 'maxSessions'],
    ['MAX_SESSIONS', '0', 'maxSessions'],
    ['ON_LIMIT', 'forget', 'onLimit'],
    ['TOTP_SECRET', 'JBSWY3DPEHPK3PXP', 'use base32'],
    ['TOTP_SECRET', 'not-in-base-32-however-long-it-is', 'use base32'],
  ])('a wrong %s (%s) is named, with the remedy', async (name, value, remedy) => {
    const app = await AppProcess.launch({ PATH: '/nowhere', [name]: value });
    expect(await app.ended).toBe(1);
    expect(app.log).toContain('The shop cannot start');
    expect(app.log).toContain(remedy);
    if (name === 'TOTP_SECRET') expect(app.log).not.toContain(value);
  });
});

describe('codes of an authenticator app', () => {
  const STEP = 30_000;
  let now = 1_000 * STEP;
  const codes = new OneTimeCodes(totp.secret, () => now);
  const codeAt = (steps: number) => totp.generate({ timestamp: now + steps * STEP });

  it('are right one step early and late, and never again', () => {
    expect(codes.check('alice', codeAt(-2))).toBe('wrong');
    expect(codes.check('alice', codeAt(2))).toBe('wrong');
    for (const steps of [-1, 0, 1]) {
      expect(codes.check('alice', codeAt(steps))).toBe('right');
      expect(codes.check('alice', codeAt(steps))).toBe('wrong');
    }
    expect(codes.check('bob', codeAt(0))).toBe('right');
    expect(codes.check('bob', codeAt(-1))).toBe('wrong');
  });

  it('may be tried again a minute after too many wrong ones', () => {
    for (let i = 0; i < 5; i++) expect(codes.check('carol', '')).toBe('wrong');
    expect(codes.check('carol', codeAt(0))).toBe('too many');
    expect(codes.check('dave', codeAt(0))).toBe('right');
    now += 60_000;
    expect(codes.check('carol', codeAt(0))).toBe('right');
  });
});
