import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import {
  RequireFactor,
  RequireFresh,
  RequireRole,
  RequireSession,
  Session,
  SessionService,
  type AuthenticateOptions,
  type ListedSession,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, Latch, type TestApp } from '../support/app.js';
import { type HttpClient, parseSetCookie } from '../support/http-client.js';
import { Opened, pass } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

const COOKIE = '__Host-session';

/** A handler waits here, where a test has put a latch. */
const gate: { latch?: Latch | undefined } = {};

type Login = AuthenticateOptions & { name: string };

/** An application as the standard means it. */
@Controller()
class Bank {
  constructor(private readonly sessions: SessionService) {}

  @Post('cart') @HttpCode(200) async cart(@Session() session: Session) {
    session.increment('items');
    await gate.latch?.wait();
    return { items: session.get('items') };
  }

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name, ...options }: Login,
  ) {
    await session.authenticate(name, options);
  }

  @RequireSession() @Post('second-factor') @HttpCode(200) async secondFactor(
    @Session() session: Session,
  ) {
    await session.elevate('otp');
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal };
  }

  @RequireFresh('5m') @Post('password') @HttpCode(200) async password(@Session() session: Session) {
    await session.elevate('pwd');
    const sessions = this.sessions.forPrincipal(session.principal as string);
    return { ended: await sessions.revokeOthers(session) };
  }

  @RequireFactor('otp', { within: '2m' }) @Post('transfer') @HttpCode(200) transfer() {
    return { done: true };
  }

  @RequireSession() @Get('devices') devices(@Session() session: Session) {
    return this.sessions.forPrincipal(session.principal as string).list();
  }

  @RequireSession() @Post('devices/:handle/end') @HttpCode(200) async end(
    @Session() session: Session,
    @Param('handle') handle: string,
  ) {
    const sessions = this.sessions.forPrincipal(session.principal as string);
    return { done: await sessions.revoke(handle) };
  }

  @RequireSession() @Post('devices/end-others') @HttpCode(200) async endOthers(
    @Session() session: Session,
  ) {
    const sessions = this.sessions.forPrincipal(session.principal as string);
    return { ended: await sessions.revokeOthers(session) };
  }

  @RequireRole('admin') @Post('users/:name/end') @HttpCode(200) async endUser(
    @Param('name') name: string,
  ) {
    return { ended: await this.sessions.forPrincipal(name).revokeAll() };
  }

  @RequireRole('admin') @Post('users-end') @HttpCode(200) async endUsers() {
    return { ended: await this.sessions.revokeAllPrincipals() };
  }

  @RequireRole('admin') @Post('act-as/:name') @HttpCode(200) async actAs(
    @Session() session: Session,
    @Param('name') name: string,
  ) {
    await session.switchPrincipal(name);
  }
}

describe.each(ADAPTERS)('OWASP ASVS 5.0, chapter 7, on %s', (adapter) => {
  let clock: FakeClock;
  let running: TestApp;
  const opened = new Opened();

  const start = async (session: SessionModuleOptions = {}): Promise<TestApp> => {
    const all = { store: 'memory', clock, ...session } as const;
    return opened.app({ adapter, controllers: [Bank], session: all });
  };
  const browse = (app = running, jar?: Iterable<[string, string]>): HttpClient => {
    return opened.browser(app, jar);
  };
  const login = (client: HttpClient, options: Partial<Login> = {}) =>
    client.post('/login', { json: { name: 'alice', ...options } });
  /** A browser that is logged in. */
  const device = async (options: Partial<Login> = {}, app = running) => {
    const client = browse(app);
    expect((await login(client, options)).status).toBe(200);
    return client;
  };
  const areIn = (...clients: HttpClient[]) => pass('/me', clients);
  const tokenOf = (client: HttpClient) => client.jar.get(COOKIE);
  const listOf = async (client: HttpClient) =>
    (await client.get('/devices')).json as unknown as ListedSession[];

  beforeEach(async () => {
    clock = new FakeClock();
    running = await start();
  });

  afterEach(async () => {
    gate.latch = undefined;
    await opened.close();
  });

  it.each<[string, SessionModuleOptions, string, boolean[]]>([
    [
      'refusing',
      { maxSessions: 2, onLimit: 'reject' },
      'at most 2 for each principal (reject)',
      [true, true, false],
    ],
    [
      'ending the oldest login',
      { maxSessions: 2 },
      'at most 2 for each principal (retire-oldest)',
      [false, true, true],
    ],
    [
      'ending the least recently used',
      { maxSessions: 2, onLimit: 'retire-least-recently-used' },
      'at most 2 for each principal (retire-least-recently-used)',
      [true, false, true],
    ],
    ['none', {}, 'any number for each principal', [true, true, true]],
  ])(
    '7.1.2: the limit of concurrent sessions is printed at boot, and in force: %s',
    async (_, options, printed, expected) => {
      const app = await start(options);
      const line = app.logger.texts('log').find((text) => text.includes('Sessions in'));
      expect(line).toContain(printed);
      const clients = [browse(app), browse(app), browse(app)] as const;
      for (const client of clients) {
        await login(client);
        clock.advance('2m');
        // Only the first one is used again.
        if (client === clients[1]) await clients[0].get('/me');
      }
      expect(await areIn(...clients)).toEqual(expected);
    },
  );

  it('7.2.4: authentication, re-authentication and elevation each give a new id, and end the old one', async () => {
    const client = browse();
    await client.post('/cart');
    const jars = [new Map(client.jar)];
    for (const step of [
      () => login(client, { factors: ['pwd'] }),
      () => client.post('/second-factor'),
      () => login(client, { factors: ['pwd'] }),
      () => login(client, { name: 'bob' }),
    ]) {
      const answer = await step();
      expect(answer.status).toBe(200);
      expect(answer.setCookie).toHaveLength(1);
      jars.push(new Map(client.jar));
      const tokens = jars.map((jar) => jar.get(COOKIE));
      expect(new Set(tokens).size).toBe(tokens.length);
      const [current, ...old] = jars.toReversed().map((jar) => browse(running, jar));
      expect(await areIn(current!, ...old)).toEqual([true, ...old.map(() => false)]);
    }
    expect((await client.post('/cart')).json).toEqual({ items: 2 });
    expect(await running.app.get(SessionService).count()).toBe(1);
    // A request with an old id may meanwhile be told to try again; after the grace it is nobody's.
    clock.advance('31s');
    for (const jar of jars.slice(0, -1)) {
      expect((await browse(running, jar).get('/me')).status).toBe(401);
    }
    expect(await areIn(client)).toEqual([true]);
  });

  it('7.4.2: all sessions of an account end when it is disabled, and no others', async () => {
    const admin = await device({ name: 'root', roles: ['admin'] });
    const ofAlice = [
      await device(),
      await device({ rememberMe: true }),
      await device({ clientKind: 'mobile', factors: ['pwd', 'otp'] }),
    ];
    const acting = await device({ roles: ['admin'] });
    expect((await acting.post('/act-as/bob')).status).toBe(200);
    const others = [await device({ name: 'bob' }), await device({ name: 'Alice' }), admin];
    expect((await admin.post('/users/alice/end')).json).toEqual({ ended: 4 });
    expect(await areIn(...ofAlice, acting)).toEqual([false, false, false, false]);
    expect(await areIn(...others)).toEqual([true, true, true]);
  });

  it('7.4.3: a change of a factor ends all other sessions', async () => {
    const clients = [await device(), await device(), await device({ rememberMe: true })] as const;
    const ofBob = await device({ name: 'bob' });
    const old = new Map(clients[1].jar);
    expect((await clients[1].post('/password')).json).toEqual({ ended: 2 });
    expect(tokenOf(clients[1])).not.toBe(old.get(COOKIE));
    expect(await areIn(...clients, ofBob, browse(running, old))).toEqual([
      false,
      true,
      false,
      true,
      false,
    ]);
  });

  it('7.4.4: a logout works for every session, also one that has ended, and takes the cookie away', async () => {
    const anonymous = browse();
    await anonymous.post('/cart');
    const expired = await device();
    clock.advance('31m');
    await anonymous.post('/cart');
    const ended = await device({ name: 'bob' });
    await running.app.get(SessionService).forPrincipal('bob').revokeAll();
    const unknown = browse(running, [[COOKIE, 'A'.repeat(44)]]);
    for (const client of [await device(), anonymous, expired, ended, unknown]) {
      expect(client.jar.has(COOKIE)).toBe(true);
      const jar = new Map(client.jar);
      for (const one of [client, browse(running, jar)]) {
        const answer = await one.post('/logout');
        expect(answer.status).toBe(204);
        expect(answer.setCookie).toHaveLength(1);
        const { name, value, attributes } = parseSetCookie(answer.setCookie[0]!);
        expect({ name, value, maxAge: attributes['max-age'] }).toEqual({
          name: COOKIE,
          value: '',
          maxAge: '0',
        });
        expect(one.jar.size).toBe(0);
      }
      expect(await areIn(browse(running, jar))).toEqual([false]);
    }
    for (const client of [browse(), browse(running, [[COOKIE, 'no token']])]) {
      expect((await client.post('/logout')).status).toBe(204);
    }
    expect(await running.app.get(SessionService).count()).toBe(0);
  });

  it('7.4.5: an administrator ends the sessions of one user, and of all users', async () => {
    const admin = await device({ name: 'root', roles: ['admin'] });
    const clients = [await device(), await device(), await device({ name: 'bob' })] as const;
    expect((await clients[0].post('/users/bob/end')).status).toBe(403);
    expect((await clients[0].post('/users-end')).status).toBe(403);
    expect(await areIn(...clients)).toEqual([true, true, true]);
    expect((await admin.post('/users/alice/end')).json).toEqual({ ended: 2 });
    expect(await areIn(...clients, admin)).toEqual([false, false, true, true]);

    await login(clients[0]);
    const anonymous = browse();
    await anonymous.post('/cart');
    expect((await admin.post('/users-end')).json).toEqual({ ended: 3 });
    expect(await areIn(...clients, admin)).toEqual([false, false, false, false]);
    expect((await anonymous.post('/cart')).json).toEqual({ items: 2 });
    await login(clients[0]);
    expect(await areIn(clients[0])).toEqual([true]);
  });

  it('7.5.1: sensitive changes need a full re-authentication', async () => {
    const client = await device({ factors: ['pwd', 'otp'] });
    clock.advance('3m');
    expect((await client.post('/password')).status).toBe(200);
    clock.advance('3m');
    await client.post('/cart');
    await client.post('/second-factor');
    const refused = await client.post('/password');
    expect(refused.status).toBe(401);
    expect(refused.json).toMatchObject({
      code: 'SESSION_STEP_UP_REQUIRED',
      stepUp: { maxAge: 300 },
    });
    expect(refused.headers['www-authenticate']).toBe(
      'Session error="insufficient_user_authentication", max_age="300"',
    );
    expect(await areIn(client)).toEqual([true]);
    await login(client, { factors: ['pwd'] });
    expect((await client.post('/password')).status).toBe(200);
  });

  it('7.5.2: users see their sessions and end them, one by one or all others', async () => {
    const agent = 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0';
    const laptop = browse();
    const json = { name: 'alice', label: 'laptop' };
    await laptop.post('/login', { json, headers: { 'user-agent': agent } });
    clock.advance('1m');
    const [phone, tablet] = [await device({ label: 'phone' }), await device({ label: 'tablet' })];
    const ofBob = await device({ name: 'bob' });
    const list = await listOf(laptop);
    expect(list).toHaveLength(3);
    expect(list.find(({ label }) => label === 'laptop')).toMatchObject({
      current: true,
      client: { address: '127.0.0.1', browser: 'Firefox 145', os: 'Linux' },
      authenticatedAt: clock.now() - 60_000,
      lastAccessedAt: clock.now(),
    });
    const handleOf = (name: string) => list.find(({ label }) => label === name)?.handle;
    const end = async (handle: string | undefined) =>
      (await laptop.post(`/devices/${handle}/end`)).json;
    expect(await end(handleOf('phone'))).toEqual({ done: true });
    expect(await areIn(laptop, phone, tablet)).toEqual([true, false, true]);
    const [listedOfBob] = await listOf(ofBob);
    expect(await end(listedOfBob?.handle)).toEqual({ done: false });
    expect((await laptop.post('/devices/end-others')).json).toEqual({ ended: 1 });
    expect(await areIn(laptop, phone, tablet, ofBob)).toEqual([true, false, false, true]);
    expect(await listOf(laptop)).toHaveLength(1);
    expect(await end(handleOf('laptop'))).toEqual({ done: true });
    expect(await areIn(laptop)).toEqual([false]);
  });

  it('7.5.3: highly sensitive transactions need a further factor, proven lately', async () => {
    const client = await device({ factors: ['pwd'] });
    const refused = await client.post('/transfer');
    expect(refused.status).toBe(401);
    expect(refused.json).toMatchObject({
      code: 'SESSION_STEP_UP_REQUIRED',
      stepUp: { factors: ['otp'], maxAge: 120 },
    });
    expect(refused.headers['www-authenticate']).toBe(
      'Session error="insufficient_user_authentication", max_age="120", factor="otp"',
    );
    await client.post('/second-factor');
    expect((await client.post('/transfer')).json).toEqual({ done: true });
    clock.advance('2m');
    expect((await client.post('/transfer')).status).toBe(200);
    clock.advance(1);
    expect((await client.post('/transfer')).status).toBe(401);
    expect(await areIn(client)).toEqual([true]);
  });

  describe('on all nodes of one Redis', () => {
    let redis: RedisUnderTest;
    let probe: RedisProbe;

    beforeAll(async () => {
      redis = await startRedis();
      probe = await RedisProbe.start(redis);
    });

    afterAll(async () => {
      await probe.stop();
      await redis.stop();
    });

    it('7.4.1: after a logout the same cookie is refused by every node, also by requests that run', async () => {
      const options = { store: undefined, redis: redis.connection() };
      const nodes = [await start(options), await start(options), await start(options)] as const;
      const client = await device({}, nodes[0]);
      const jar = new Map(client.jar);
      const everywhere = nodes.map((node) => browse(node, jar));
      expect(await areIn(...everywhere)).toEqual([true, true, true]);
      // One request has read the session before, and writes it after the logout.
      const latch = (gate.latch = new Latch());
      const late = everywhere[1]!.post('/cart');
      await latch.reached;
      expect((await client.post('/logout')).status).toBe(204);
      expect(client.jar.size).toBe(0);
      latch.open();
      expect((await late).setCookie.map(parseSetCookie).map(({ value }) => value)).not.toContain(
        jar.get(COOKIE),
      );
      gate.latch = undefined;
      for (const node of nodes) {
        const again = browse(node, jar);
        expect(await areIn(again)).toEqual([false]);
        expect((await browse(node, jar).post('/cart')).json).toEqual({ items: 1 });
      }
      expect(await nodes[2].app.get(SessionService).forPrincipal('alice').count()).toBe(0);
      expect([...(await probe.liveRecords()).values()].join()).not.toContain('alice');
    });
  });
});
