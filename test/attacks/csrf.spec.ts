import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { All, Body, Controller, Get, HttpCode, Post, Put, type Provider } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import type { Application } from 'express';
import {
  CsrfToken,
  RequireSession,
  Session,
  SessionCsrfGuard,
  SessionModule,
  SkipCsrf,
  SkipSession,
  UseSession,
  type SessionIdTransport,
  type SessionModuleOptions,
  type SessionRejection,
  type TransportRequest,
  type TransportResponse,
} from 'nestjs-distributed-session';
import { ADAPTERS, startApp, until, type TestApp, type TestAppOptions } from '../support/app.js';
import type { Answer, HttpClient, Sending } from '../support/http-client.js';
import { NEST } from '../support/nest.js';
import { Opened } from '../support/opened.js';
import { RedisGates } from '../support/redis-gates.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { itInRedis } from '../support/store-under-test.js';

/** What a form of another site sends. */
const EVIL = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.test' };
const OWN = { 'sec-fetch-site': 'same-origin', origin: 'http://localhost' };
const PARTNER = { 'sec-fetch-site': 'cross-site', origin: 'https://partner.test' };
/** Headers of a request. */
type Headers = Record<string, string>;
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };

@Controller()
class Bank {
  @Get('token') token(@CsrfToken() token: string) {
    return { token };
  }

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name = 'alice' }: { name?: string } = {},
  ) {
    await session.authenticate(name);
  }

  @Post('elevate') @HttpCode(200) async elevate(@Session() session: Session) {
    await session.elevate('otp');
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @RequireSession() @Post('transfer') transfer(@Session() session: Session) {
    return { transfers: session.increment('transfers') };
  }

  @All('any') any(@Session() session: Session) {
    return { transfers: session.increment('transfers') };
  }

  @Get('state') state(@Session() session: Session) {
    return { principal: session.principal, transfers: session.get('transfers') };
  }

  @SkipCsrf() @Post('webhook') webhook() {
    return { heard: true };
  }

  @SkipSession() @Post('ping') ping() {
    return { pong: true };
  }

  @Put('excluded') excluded() {
    return { excluded: true };
  }
}

@UseSession('admin')
@Controller('admin')
class Vault {
  @Get('token') token(@CsrfToken() token: string) {
    return { token };
  }

  @Post('open') open(@Session() session: Session) {
    return { opened: session.increment('opened') };
  }
}

/** An application's own way, of which nothing is known. */
class MyTransport implements SessionIdTransport {
  constructor(readonly explicit?: boolean) {}

  read = (request: TransportRequest) => [request.header('x-mine') ?? ''].filter(Boolean);
  clear = () => undefined;

  write(_: TransportRequest, response: TransportResponse, token: string) {
    response.append('X-Mine', token);
  }
}

/** Goes by the sessions of `forRoot`, and uses others. */
@Controller()
class Mixed {
  @Post('mixed') open(@Session.of('admin') session: Session) {
    return { opened: session.increment('opened') };
  }
}

const GUARD: Provider = { provide: APP_GUARD, useClass: SessionCsrfGuard };

describe.each(ADAPTERS)('requests that another site causes on %s', (adapter) => {
  const opened = new Opened();
  const rejected: SessionRejection[] = [];
  let server: RedisUnderTest;
  let probe: RedisProbe;
  let bank: TestApp;
  let alice: HttpClient;

  const start = (session: SessionModuleOptions = {}, options: Partial<TestAppOptions> = {}) =>
    startApp({
      adapter,
      session: {
        redis: server.connection(),
        onRejected: (one) => rejected.push(one),
        ...session,
      },
      controllers: [Bank],
      providers: [GUARD],
      ...options,
    });

  /** A browser of somebody who is logged in. */
  async function loggedIn(app = bank, sending: Sending = {}): Promise<HttpClient> {
    const client = opened.browser(app);
    const headers = { ...OWN, ...sending.headers };
    expect((await client.post('/login', { ...sending, headers })).status).toBe(200);
    return client;
  }

  const tokenFor = async (client: HttpClient, path = '/token', sending?: Sending) =>
    (await client.get(path, sending)).json.token as string;
  const transfersOf = async (client: HttpClient) =>
    ((await client.get('/state')).json.transfers as number | undefined) ?? 0;
  const send = (client: HttpClient, headers: Headers, path = '/transfer') =>
    client.post(path, { headers });

  function expectRefused(answer: Answer, remedy: RegExp): void {
    expect(answer.status).toBe(403);
    expect(answer.json).toMatchObject({ statusCode: 403, code: 'SESSION_CSRF_REFUSED' });
    expect(answer.json.message).toMatch(remedy);
    // No token, and nothing that looks like one.
    expect(answer.text).not.toMatch(/[\w-]{22,}/);
  }
  const elsewhere = /another site.*csrf\.origins/s;
  const unproven = /no valid CSRF token.*"X-CSRF-Token".*"_csrf"/s;

  beforeAll(async () => {
    server = await startRedis({ keyPrefixes: ['sess.admin'] });
    probe = await RedisProbe.start(server);
    bank = await start();
  });

  beforeEach(async () => {
    alice = await loggedIn();
    rejected.length = 0;
  });

  afterAll(async () => {
    await opened.close();
    await bank.close();
    await probe.stop();
    await server.stop();
  });

  describe('are told from its own by the browser', () => {
    it.each<[string, Headers]>([
      ['Sec-Fetch-Site: same-origin', { 'sec-fetch-site': 'same-origin' }],
      ['Sec-Fetch-Site: none', { 'sec-fetch-site': 'none' }],
      [
        'same-origin without an Origin to show',
        { 'sec-fetch-site': 'same-origin', origin: 'null' },
      ],
      ['Origin alone', { origin: 'http://localhost' }],
      ['Origin with a port', { host: 'localhost:3000', origin: 'http://localhost:3000' }],
      [
        'Host with the port that goes without saying',
        { host: 'a.test:80', origin: 'http://a.test' },
      ],
      ['Host in capitals', { host: 'SHOP.test', origin: 'http://shop.test' }],
      ['an address', { host: '[::1]:3000', origin: 'http://[::1]:3000' }],
    ])('passes: %s', async (_, headers) => {
      expect((await send(alice, headers)).json).toEqual({ transfers: 1 });
      expect(rejected).toEqual([]);
    });

    it.each<[string, Headers]>([
      ['cross-site', EVIL],
      ['cross-site without Origin', { 'sec-fetch-site': 'cross-site' }],
      ['cross-site with an Origin that fits', { ...EVIL, origin: 'http://localhost' }],
      ['same-site: a subdomain may be somebody else', { 'sec-fetch-site': 'same-site' }],
      ['a site that nobody knows', { 'sec-fetch-site': 'same-galaxy', origin: 'http://localhost' }],
      ['other letters', { 'sec-fetch-site': 'Same-Origin' }],
      ['an empty site', { 'sec-fetch-site': '' }],
      ['two sites in one', { 'sec-fetch-site': 'same-origin, cross-site' }],
      ['another Origin', { origin: 'https://evil.test' }],
      ['Origin: null, as a sandboxed frame sends it', { origin: 'null' }],
      ['an empty Origin', { origin: '' }],
      ['another scheme', { origin: 'https://localhost' }],
      ['another port', { origin: 'http://localhost:8080' }],
      ['a name that begins alike', { origin: 'http://localhost.evil.test' }],
      ['a name that ends alike', { origin: 'http://evil-localhost' }],
      ['user information', { origin: 'http://localhost@evil.test' }],
      ['two Origins in one', { origin: 'http://localhost, https://evil.test' }],
      ['a Host that is none', { host: 'a b', origin: 'http://a b' }],
    ])('is refused, and does nothing: %s', async (_, headers) => {
      expectRefused(await send(alice, headers), elsewhere);
      expect(await transfersOf(alice)).toBe(0);
      expect(rejected).toEqual([{ reason: 'csrf', handle: expect.any(String), name: undefined }]);
    });

    it('a token does not help another site', async () => {
      const token = await tokenFor(alice);
      expectRefused(await send(alice, { ...EVIL, 'x-csrf-token': token }), elsewhere);
      expect(await transfersOf(alice)).toBe(0);
    });

    it.each(['POST', 'PUT', 'PATCH', 'DELETE'])('%s is refused', async (method) => {
      expectRefused(await alice.send(method, '/any', { headers: EVIL }), elsewhere);
      expect(await transfersOf(alice)).toBe(0);
    });

    it.each(['GET', 'HEAD', 'OPTIONS'])(
      '%s passes: it must not change anything',
      async (method) => {
        expect((await alice.send(method, '/any', { headers: EVIL })).status).toBe(200);
      },
    );

    it('a refusal costs no command in Redis', async () => {
      const commands = await probe.commandsDuring(() => send(alice, EVIL));
      expect(commands).toEqual([]);
    });
  });

  describe('behind a proxy', () => {
    const forwarded = {
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'shop.test',
      origin: 'https://shop.test',
    };
    const trusting: Partial<TestAppOptions> = {
      fastify: { trustProxy: true },
      setup: (app) => {
        const instance: unknown = app.getHttpAdapter().getInstance();
        if (adapter === 'express') (instance as Application).set('trust proxy', true);
      },
    };

    it('that the adapter trusts, its scheme and host count', async () => {
      const app = opened.add(await start({}, trusting));
      const client = await loggedIn(app);
      expect((await send(client, forwarded)).status).toBe(201);
      expectRefused(await send(client, { ...forwarded, origin: 'http://localhost' }), elsewhere);
      expectRefused(await send(client, { ...forwarded, origin: 'http://shop.test' }), elsewhere);
    });

    it('that it does not trust, they do not', async () => {
      expectRefused(await send(alice, forwarded), elsewhere);
      expectRefused(await send(alice, { ...forwarded, origin: 'http://shop.test' }), elsewhere);
      expectRefused(await send(alice, { ...forwarded, origin: 'https://localhost' }), elsewhere);
      expect((await send(alice, { ...forwarded, origin: 'http://localhost' })).status).toBe(201);
    });
  });

  describe('from who is not logged in', () => {
    it('log nobody in as the attacker', async () => {
      const visitor = opened.browser(bank);
      const answer = await visitor.post('/login', { json: { name: 'mallory' }, headers: EVIL });
      expectRefused(answer, elsewhere);
      expect(answer.setCookie).toEqual([]);
      expect(rejected).toEqual([{ reason: 'csrf', handle: undefined, name: undefined }]);
    });

    it('need a token where the browser tells nothing', async () => {
      const visitor = opened.browser(bank);
      const answer = await visitor.post('/login');
      expectRefused(answer, unproven);
      expect(answer.setCookie).toEqual([]);
      const token = await tokenFor(visitor);
      expect((await visitor.post('/login', { headers: { 'x-csrf-token': token } })).status).toBe(
        200,
      );
      expect((await visitor.get('/state')).json).toEqual({ principal: 'alice' });
    });

    it('are refused with a cookie that was made up', async () => {
      const visitor = opened.browser(bank, [['__Host-session', 'A'.repeat(44)]]);
      expectRefused(await visitor.post('/login'), unproven);
    });
  });

  describe('tokens', () => {
    it('are asked for where the browser tells nothing', async () => {
      expectRefused(await alice.post('/transfer'), unproven);
      expect(await transfersOf(alice)).toBe(0);
      const [handle] = rejected.map((one) => one.handle);
      expect(handle).toMatch(/^[0-9a-v][0-9a-f][\w-]{43}$/);
      const sent = await send(alice, { 'x-csrf-token': await tokenFor(alice) });
      expect(sent.json).toEqual({ transfers: 1 });
    });

    it('look different each time, and all serve', async () => {
      const tokens = [await tokenFor(alice), await tokenFor(alice), await tokenFor(alice)];
      expect(new Set(tokens).size).toBe(3);
      for (const token of tokens) {
        expect((await send(alice, { 'x-csrf-token': token })).status).toBe(201);
      }
      expect((await send(alice, { 'x-csrf-token': tokens[0]! })).json).toEqual({ transfers: 4 });
    });

    it('come in a form, or in JSON', async () => {
      const _csrf = await tokenFor(alice);
      const form = { headers: FORM, body: new URLSearchParams({ _csrf }).toString() };
      expect((await alice.post('/transfer', form)).status).toBe(201);
      expect((await alice.post('/transfer', { json: { _csrf } })).status).toBe(201);
    });

    it.each<[string, (token: string) => Sending]>([
      ['in the address', () => ({})],
      [
        'in plain text',
        (token) => ({ headers: { 'content-type': 'text/plain' }, body: `_csrf=${token}` }),
      ],
      ['in a list', (token) => ({ json: { _csrf: [token] } })],
      ['in a field of another name', (token) => ({ json: { csrf: token } })],
      [
        'beside a wrong header',
        (token) => ({ json: { _csrf: token }, headers: { 'x-csrf-token': 'x' } }),
      ],
      [
        'in a cookie',
        (token) => ({ headers: { cookie: `${alice.cookieHeader}; _csrf=${token}` } }),
      ],
      ['twice', (token) => ({ headers: { 'x-csrf-token': `${token}, ${token}` } })],
      ['shortened', (token) => ({ headers: { 'x-csrf-token': token.slice(0, -1) } })],
    ])('do not count %s', async (_, sending) => {
      const token = await tokenFor(alice);
      const path = `/transfer?_csrf=${token}`;
      expectRefused(await alice.post(path, sending(token)), unproven);
      expect(await transfersOf(alice)).toBe(0);
    });

    it('are of one session', async () => {
      const mallory = await loggedIn();
      const foreign = await tokenFor(mallory);
      expectRefused(await send(alice, { 'x-csrf-token': foreign }), unproven);
      const stranger = opened.browser(bank);
      expectRefused(await send(alice, { 'x-csrf-token': await tokenFor(stranger) }), unproven);
    });

    it('are of one login: one that was planted before serves no longer', async () => {
      const visitor = opened.browser(bank);
      const before = await tokenFor(visitor);
      await visitor.post('/login', { headers: OWN });
      expectRefused(await send(visitor, { 'x-csrf-token': before }), unproven);
      expect((await send(visitor, { 'x-csrf-token': await tokenFor(visitor) })).status).toBe(201);
    });

    it('serve on under the ids that the session gets later', async () => {
      const before = await tokenFor(alice);
      const cookie = alice.cookieHeader;
      await alice.post('/elevate', { headers: OWN });
      expect(alice.cookieHeader).not.toBe(cookie);
      expect((await send(alice, { 'x-csrf-token': before })).status).toBe(201);
    });

    it('tell who still has the id before to try again, instead of that they are wrong', async () => {
      const token = await tokenFor(alice);
      const late = alice.another(alice.jar);
      await alice.post('/elevate', { headers: OWN });
      const answer = await send(late, { 'x-csrf-token': token });
      expect(answer.json).toMatchObject({ statusCode: 409, code: 'SESSION_CONFLICT' });
    });

    it('end with the session', async () => {
      const token = await tokenFor(alice);
      const late = alice.another(alice.jar);
      await alice.post('/logout', { headers: OWN });
      expectRefused(await send(late, { 'x-csrf-token': token }), unproven);
    });

    itInRedis('make the session of a visitor be stored, once', async () => {
      await probe.flush();
      const visitor = opened.browser(bank);
      expect((await visitor.get('/state')).setCookie).toEqual([]);
      expect(await probe.size()).toBe(0);
      const first = await visitor.get('/token');
      expect(first.setCookie).toHaveLength(1);
      expect(first.headers['cache-control']).toBe('no-store');
      expect(await probe.size()).toBe(1);
      const commands = await probe.commandsDuring(async () => {
        expect((await visitor.get('/token')).setCookie).toEqual([]);
      });
      expect(commands.length).toBeLessThanOrEqual(1);
    });

    it('stand in no log', async () => {
      const token = await tokenFor(alice);
      await send(alice, { ...EVIL, 'x-csrf-token': token });
      expect(bank.logger.texts().join('\n')).not.toContain(token);
      expect(bank.logger.texts('debug').join('\n')).toContain('Session refused: csrf');
    });

    itInRedis('are of the sessions that the route goes by', async () => {
      const app = opened.add(
        await start(
          {},
          {
            controllers: [Bank, Vault],
            imports: [SessionModule.forFeature('admin')],
          },
        ),
      );
      const both = await loggedIn(app);
      const [ofBank, ofVault] = [await tokenFor(both), await tokenFor(both, '/admin/token')];
      const open = (token: string) => send(both, { 'x-csrf-token': token }, '/admin/open');
      expectRefused(await open(ofBank), unproven);
      expect((await open(ofVault)).status).toBe(201);
      expectRefused(await send(both, { 'x-csrf-token': ofVault }), unproven);
      expect(rejected.map(({ name }) => name)).toEqual(['admin', undefined]);
    });
  });

  itInRedis(
    'are refused if they bring a cookie of other sessions than those that the route goes by',
    async () => {
      const app = opened.add(
        await start(
          { transport: 'x-auth-token' },
          {
            controllers: [Mixed],
            imports: [SessionModule.forFeature('admin', { transport: 'cookie' })],
          },
        ),
      );
      const root = opened.browser(app);
      expect((await root.post('/mixed', { headers: OWN })).json).toEqual({ opened: 1 });
      expectRefused(await root.post('/mixed', { headers: EVIL }), elsewhere);
      expect((await root.post('/mixed', { headers: OWN })).json).toEqual({ opened: 2 });
      // Without any cookie there is nothing that a browser has added by itself.
      expect((await opened.browser(app).post('/mixed', { headers: EVIL })).status).toBe(201);
    },
  );

  describe('by options', () => {
    it('origins that are named may send with a token, others may not', async () => {
      const app = opened.add(await start({ csrf: { origins: ['https://PARTNER.test:443'] } }));
      const client = await loggedIn(app);
      const token = await tokenFor(client);
      for (const headers of [
        PARTNER,
        { ...PARTNER, 'sec-fetch-site': 'same-site' },
        { origin: PARTNER.origin },
      ]) {
        expectRefused(await send(client, headers), unproven);
        expect((await send(client, { ...headers, 'x-csrf-token': token })).status).toBe(201);
      }
      for (const origin of ['https://partner.test.evil.test', 'http://partner.test', 'null']) {
        expectRefused(await send(client, { ...PARTNER, origin, 'x-csrf-token': token }), elsewhere);
      }
    });

    it('its own pages need a token as well', async () => {
      const csrf = { token: 'always', header: 'X-Proof', field: 'proof' } as const;
      const app = opened.add(await start({ csrf }));
      const client = opened.browser(app);
      const named = /"X-Proof".*"proof"/;
      const own: Headers[] = [OWN, { 'sec-fetch-site': 'none' }, { origin: OWN.origin }, {}];
      for (const headers of own) {
        expectRefused(await client.post('/login', { headers }), named);
      }
      const headers = { ...OWN, 'x-proof': await tokenFor(client) };
      expect((await client.post('/login', { headers })).status).toBe(200);
      const proof = await tokenFor(client);
      expectRefused(await send(client, { ...OWN, 'x-csrf-token': proof }), named);
      expect((await client.post('/transfer', { headers: OWN, json: { proof } })).status).toBe(201);
      expectRefused(await send(client, { ...EVIL, 'x-proof': proof }), elsewhere);
    });

    it('a guard of the application lets pass what it wants', async () => {
      class Lenient extends SessionCsrfGuard {
        protected override shouldSkip = () => true;
      }
      const lenient: Provider = { provide: APP_GUARD, useClass: Lenient };
      const app = opened.add(await start({}, { providers: [lenient] }));
      expect((await send(await loggedIn(app), EVIL)).status).toBe(201);
    });
  });

  describe('of clients that bring their token themselves', () => {
    it('pass: no other site can make a browser send such a header', async () => {
      const app = opened.add(await start({ transport: ['x-auth-token', 'authorization'] }));
      const client = opened.browser(app);
      // Nothing that is answered here is sent by a browser by itself.
      const login = await client.post('/login', { headers: EVIL });
      expect(login.status).toBe(200);
      const token = login.headers['x-auth-token'] as string;
      const brought: Headers[] = [{ 'x-auth-token': token }, { authorization: `Session ${token}` }];
      for (const header of brought) {
        expect((await send(client, { ...EVIL, ...header })).status).toBe(201);
        expect((await send(client, header)).status).toBe(201);
      }
    });

    it('do not pass where the session came by a cookie', async () => {
      const app = opened.add(await start({ transport: ['cookie', 'authorization'] }));
      const client = await loggedIn(app);
      const beside = { authorization: 'Session x', 'x-auth-token': 'x' };
      expectRefused(await send(client, { ...EVIL, ...beside }), elsewhere);
      expectRefused(await send(client, beside), unproven);
      // And who has nothing yet would get a cookie.
      const visitor = opened.browser(app);
      expectRefused(await visitor.post('/login', { headers: EVIL }), elsewhere);
      const token = client.jar.get('__Host-session') as string;
      const itself = { ...EVIL, authorization: `Session ${token}` };
      expect((await send(visitor, itself)).status).toBe(201);
    });

    it('do not pass by a header that is not the way of these sessions', async () => {
      const token = alice.jar.get('__Host-session') as string;
      const others: Headers[] = [
        { 'x-auth-token': token },
        { authorization: `Session ${token}` },
        { authorization: 'Basic YTpi' },
      ];
      for (const headers of others) {
        expectRefused(await send(alice, { ...EVIL, ...headers }), elsewhere);
        const visitor = opened.browser(bank);
        expectRefused(
          await visitor.post('/login', { headers: { ...EVIL, ...headers } }),
          elsewhere,
        );
      }
    });

    it('pass by a way of the application if it says so', async () => {
      for (const explicit of [undefined, true]) {
        const app = opened.add(await start({ transport: new MyTransport(explicit) }));
        const client = opened.browser(app);
        const login = await client.post('/login', { headers: OWN });
        const answer = await send(client, { ...EVIL, 'x-mine': login.headers['x-mine'] as string });
        expect(answer.status).toBe(explicit ? 201 : 403);
      }
    });
  });

  describe('are let pass', () => {
    it('by @SkipCsrf()', async () => {
      expect((await send(alice, EVIL, '/webhook')).json).toEqual({ heard: true });
      expect((await alice.post('/webhook')).json).toEqual({ heard: true });
    });

    it('by @SkipSession() without a token, but not from another site', async () => {
      expect((await alice.post('/ping')).json).toEqual({ pong: true });
      expectRefused(await send(alice, EVIL, '/ping'), elsewhere);
    });

    it('where `exclude` says that there is no session', async () => {
      const app = opened.add(await start({ exclude: ['excluded'] }));
      const client = opened.browser(app);
      const answer = await client.send('PUT', '/excluded', { headers: EVIL });
      expect(answer.json).toEqual({ excluded: true });
      expectRefused(await client.post('/login', { headers: EVIL }), elsewhere);
    });
  });

  itInRedis(
    'are answered 503, not 403, while nobody can tell whether the token is right',
    async () => {
      const gates = await RedisGates.start(server);
      const app = await start({ redis: gates.connection, onStoreFailure: 'anonymous' });
      try {
        const client = await loggedIn(app);
        const headers = { 'x-csrf-token': await tokenFor(client) };
        gates.cut(/./);
        const answer = await client.post('/any', { headers });
        expect(answer.json).toMatchObject({ statusCode: 503, code: 'SESSION_STORE_UNAVAILABLE' });
        expect(answer.headers['retry-after']).toBe('1');
        expect(answer.setCookie).toEqual([]);
        // That it comes from another site is seen all the same.
        expectRefused(await send(client, EVIL), elsewhere);
        gates.release();
        await until('Redis is reached again', async () => {
          return (await client.post('/transfer', { headers })).status === 201;
        });
      } finally {
        gates.release();
        await app.close();
        await gates.stop();
      }
    },
  );

  const onNest12 = NEST >= 12 ? describe : describe.skip;
  onNest12("beside Nest's own enableCsrfProtection()", () => {
    const protecting: Partial<TestAppOptions> = {
      setup: (app) => void app.enableCsrfProtection({ trustedOrigins: [PARTNER.origin] }),
    };

    it('sessions work, and other sites are refused before the session is asked for', async () => {
      const app = opened.add(await start({}, { ...protecting, providers: [] }));
      const client = await loggedIn(app);
      expect((await send(client, OWN)).json).toEqual({ transfers: 1 });
      expect((await send(client, EVIL)).status).toBe(403);
      expect((await send(client, { origin: 'null' })).status).toBe(403);
      // It knows no tokens: who tells nothing passes.
      expect((await client.post('/transfer')).json).toEqual({ transfers: 2 });
      expect(rejected).toEqual([]);
    });

    it('this guard asks for the tokens that it does not know', async () => {
      const app = opened.add(await start({ csrf: { origins: [PARTNER.origin] } }, protecting));
      const client = await loggedIn(app);
      const token = await tokenFor(client);
      expect((await send(client, OWN)).status).toBe(201);
      expect((await send(client, EVIL)).status).toBe(403);
      for (const headers of [PARTNER, {}]) {
        expectRefused(await send(client, headers), unproven);
        expect((await send(client, { ...headers, 'x-csrf-token': token })).status).toBe(201);
      }
      // Nest compares the host only; the scheme counts here.
      expectRefused(await send(client, { origin: 'https://localhost' }), elsewhere);
    });
  });
});
