import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Get, HttpCode, Post, type INestApplication } from '@nestjs/common';
import type { Application } from 'express';
import {
  PassiveSession,
  Session,
  SessionService,
  type AuthenticateOptions,
  type SessionModuleOptions,
  type SwitchPrincipalOptions,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, byHandle, type TestApp, type TestAppOptions } from '../support/app.js';
import { type HttpClient, parseSetCookie, type Answer } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

const COOKIE = '__Host-session';
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const CANNOT_BE_STORED = { code: 'SESSION_NOT_SERIALIZABLE' };
const TOO_LARGE = { code: 'SESSION_TOO_LARGE' };

type Login = AuthenticateOptions & { name: string };
type Switch = SwitchPrincipalOptions & { name: string };

/** All that a session tells of whose it is, and of its times. */
const told = (session: Session) => ({
  handle: session.handle,
  isNew: session.isNew,
  principal: session.principal,
  roles: session.roles,
  permissions: session.permissions,
  claims: session.claims,
  factors: session.factors,
  actor: session.actor,
  label: session.label,
  rememberMe: session.rememberMe,
  createdAt: session.createdAt,
  authenticatedAt: session.authenticatedAt,
  expiresAt: session.expiresAt,
});
type Told = ReturnType<typeof told>;

@Controller()
class Account {
  constructor(private readonly sessions: SessionService) {}

  @Get('me') me(@Session() session: Session) {
    return told(session);
  }

  @PassiveSession() @Get('glance') glance(@Session() session: Session) {
    return told(session);
  }

  @Post('write') @HttpCode(200) write(@Session() session: Session) {
    session.increment('written');
    return { written: session.get('written') };
  }

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name, ...options }: Login,
  ) {
    await session.authenticate(name, options);
    return told(session);
  }

  @Post('elevate') @HttpCode(200) async elevate(
    @Session() session: Session,
    @Body() { factor }: { factor: string },
  ) {
    await session.elevate(factor);
    return told(session);
  }

  @Post('regenerate') @HttpCode(200) async regenerate(@Session() session: Session) {
    await session.regenerate();
    return told(session);
  }

  @Post('login-and-elevate') @HttpCode(200) async loginAndElevate(
    @Session() session: Session,
    @Body() { name, ...options }: Login,
  ) {
    await session.authenticate(name, options);
    await session.elevate('otp');
    return told(session);
  }

  @Post('elevate-and-login') @HttpCode(200) async elevateAndLogin(
    @Session() session: Session,
    @Body() { name, ...options }: Login,
  ) {
    await session.elevate('otp');
    await session.authenticate(name, options);
    return told(session);
  }

  @Post('switch') @HttpCode(200) async switch(
    @Session() session: Session,
    @Body() { name, ...grants }: Switch,
  ) {
    await session.switchPrincipal(name, grants);
    return told(session);
  }

  @Post('switch-back') @HttpCode(200) async switchBack(@Session() session: Session) {
    await session.switchBack();
    return told(session);
  }

  @Post('switch-there-and-back') @HttpCode(200) async thereAndBack(@Session() session: Session) {
    await session.switchPrincipal('bob');
    await session.switchBack();
    return told(session);
  }

  @Post('login-and-switch') @HttpCode(200) async loginAndSwitch(
    @Session() session: Session,
    @Body() { name, ...options }: Login,
  ) {
    await session.authenticate(name, options);
    await session.switchPrincipal('bob', { roles: ['customer'] });
    return told(session);
  }

  @Get('devices') devices(@Session() session: Session) {
    return this.sessions.forPrincipal(session.principal as string).list();
  }
}

const tokenOf = (client: HttpClient) => client.jar.get(COOKIE);
/** The session's cookie in an answer. */
const cookieIn = (answer: Answer) => {
  const cookies = answer.setCookie.map(parseSetCookie).filter(({ name }) => name === COOKIE);
  expect(cookies).toHaveLength(1);
  return cookies[0]!;
};
const maxAgeIn = (answer: Answer) => cookieIn(answer).attributes['max-age'];

describe.each(ADAPTERS)('whose a session is, on %s', (adapter) => {
  let clock: FakeClock;
  let running: TestApp;
  const opened = new Opened();

  const start = async (
    session: SessionModuleOptions = {},
    options: Partial<TestAppOptions> = {},
  ): Promise<TestApp> => {
    const all = { store: 'memory', clock, ...session } as const;
    return opened.app({ adapter, controllers: [Account], session: all, ...options });
  };
  const browse = (app = running): HttpClient => {
    return opened.browser(app);
  };
  const sessionsIn = ({ app } = running) => app.get(SessionService);
  const sessionsOf = (principal: string, app = running) => sessionsIn(app).forPrincipal(principal);
  const post = async (client: HttpClient, path: string, json: object = {}): Promise<Told> => {
    const answer = await client.post(path, { json });
    expect(answer.status).toBe(200);
    return answer.json as unknown as Told;
  };
  const login = (client: HttpClient, options: Partial<Login> = {}) =>
    post(client, '/login', { name: 'alice', ...options });
  const me = async (client: HttpClient) => (await client.get('/me')).json as unknown as Told;
  const isOut = async (client: HttpClient) => (await me(client)).principal === undefined;

  beforeEach(async () => {
    clock = new FakeClock();
    running = await start();
  });

  afterEach(opened.close);

  describe('authenticate', () => {
    it('without options is a principal, and nothing else', async () => {
      const client = browse();
      const now = clock.now();
      const expected = {
        handle: expect.any(String),
        principal: 'alice',
        roles: [],
        permissions: [],
        claims: {},
        factors: {},
        rememberMe: false,
        createdAt: now,
        authenticatedAt: now,
        expiresAt: now + 30 * MINUTE,
      };
      expect(await login(client)).toEqual({ ...expected, isNew: true });
      expect(await me(client)).toEqual({ ...expected, isNew: false });
    });

    it('keeps all that it is given, for this request, for the next ones and for the list', async () => {
      const client = browse();
      await client.post('/write');
      const createdAt = clock.now();
      clock.advance('5m');
      const now = clock.now();
      const options = {
        roles: ['reader', 'editor'],
        permissions: ['orders:write'],
        claims: { tenant: 't1', limits: { daily: 5 }, tags: ['a', null] },
        factors: ['pwd', 'otp'],
        label: 'Alice’s phone 📱',
        clientKind: 'mobile',
        idpSession: 'sid-1',
        client: { address: '203.0.113.9', browser: 'App 3', os: 'Own OS', device: 'fridge' },
      };
      const expected = {
        principal: 'alice',
        roles: options.roles,
        permissions: options.permissions,
        claims: options.claims,
        factors: { pwd: now, otp: now },
        label: options.label,
        rememberMe: false,
        createdAt,
        authenticatedAt: now,
      };
      const then = await login(client, options);
      expect(then).toMatchObject({ ...expected, isNew: false });
      expect(await me(client)).toMatchObject({ ...expected, handle: then.handle, isNew: false });
      expect((await client.get('/devices')).json).toEqual([
        {
          handle: then.handle,
          principal: 'alice',
          label: options.label,
          clientKind: 'mobile',
          client: options.client,
          createdAt,
          authenticatedAt: now,
          lastAccessedAt: now,
          expiresAt: now + 30 * MINUTE,
          roles: options.roles,
          factors: ['pwd', 'otp'],
          rememberMe: false,
          current: true,
        },
      ]);
      expect(await client.post('/write')).toMatchObject({ json: { written: 2 } });
      expect(await sessionsIn().findBy('idpSession', 'sid-1')).toHaveLength(1);
    });

    it('anew keeps the data, and nothing of whose session it was', async () => {
      const client = browse();
      await login(client, {
        roles: ['editor'],
        permissions: ['orders:write'],
        claims: { tenant: 't1' },
        factors: ['pwd', 'otp'],
        label: 'a phone',
        clientKind: 'mobile',
        idpSession: 'sid-1',
      });
      await client.post('/write');
      const old = new Map(client.jar);
      clock.advance('7m');
      const now = clock.now();
      expect(await login(client, { name: 'bob', factors: ['pwd'] })).toMatchObject({
        principal: 'bob',
        roles: [],
        permissions: [],
        claims: {},
        factors: { pwd: now },
        authenticatedAt: now,
      });
      expect((await me(client)).label).toBeUndefined();
      expect(await client.post('/write')).toMatchObject({ json: { written: 2 } });
      expect(await sessionsIn().findBy('idpSession', 'sid-1')).toEqual([]);
      expect([await sessionsOf('alice').count(), await sessionsOf('bob').count()]).toEqual([0, 1]);
      expect(await isOut(client.another(old))).toBe(true);
    });

    it.each<[string, Record<string, unknown>, object]>([
      ['an empty principal', { principal: '' }, { name: 'TypeError' }],
      ['a principal that is no string', { principal: 7 }, { name: 'TypeError' }],
      ['roles that are no list', { roles: 'admin' }, { name: 'TypeError' }],
      ['an empty role', { roles: ['admin', ''] }, { name: 'TypeError' }],
      ['permissions that are no strings', { permissions: [1] }, { name: 'TypeError' }],
      ['factors that are no list', { factors: 'pwd' }, { name: 'TypeError' }],
      ['an empty label', { label: '' }, { name: 'TypeError' }],
      ['a label that is no string', { label: {} }, { name: 'TypeError' }],
      ['an empty kind of client', { clientKind: '' }, { name: 'TypeError' }],
      ['an empty session of the provider', { idpSession: '' }, { name: 'TypeError' }],
      ['claims that cannot be stored', { claims: { f: () => 1 } }, CANNOT_BE_STORED],
      ['claims that are too many', { claims: { text: 'x'.repeat(70_000) } }, TOO_LARGE],
    ])('refuses %s, and stores nothing', async (_, options, failure) => {
      const wrong = { principal: 'alice', ...options } as Parameters<SessionService['create']>[0];
      await expect(sessionsIn().create(wrong)).rejects.toMatchObject(failure);
      expect(await sessionsIn().count()).toBe(0);
    });

    it('does not share lists with who gave them', async () => {
      const [roles, claims] = [['reader'], { tenant: 't1' }];
      const session = await sessionsIn().create({ principal: 'alice', roles, claims });
      roles.push('admin');
      claims.tenant = 't2';
      expect(session).toMatchObject({ roles: ['reader'], claims: { tenant: 't1' } });
    });
  });

  describe('elevate', () => {
    it('notes when the factor was proven, under a new id, and ends the old one', async () => {
      const client = browse();
      const first = await login(client, { roles: ['reader'], factors: ['pwd'], label: 'a phone' });
      await client.post('/write');
      const old = new Map(client.jar);
      clock.advance('3m');
      const elevated = await post(client, '/elevate', { factor: 'otp' });
      const loggedInAt = first.authenticatedAt as number;
      expect(elevated).toEqual({
        ...first,
        isNew: false,
        handle: elevated.handle,
        factors: { pwd: loggedInAt, otp: clock.now() },
        expiresAt: clock.now() + 30 * MINUTE,
      });
      expect(elevated.handle).not.toBe(first.handle);
      expect(await me(client)).toEqual(elevated);
      expect(await client.post('/write')).toMatchObject({ json: { written: 2 } });

      const withOld = client.another(old);
      expect(await isOut(withOld)).toBe(true);
      // An answer to a request that was under way must not take the new cookie away.
      expect(tokenOf(withOld)).toBe(old.get(COOKIE));
      clock.advance('30s');
      expect(await isOut(withOld)).toBe(true);
      expect(tokenOf(withOld)).toBeUndefined();
      expect(await sessionsIn().count()).toBe(1);
    });

    it('of a factor that was proven before renews its time', async () => {
      const client = browse();
      const { authenticatedAt } = await login(client, { factors: ['pwd', 'otp'] });
      clock.advance('3m');
      await post(client, '/elevate', { factor: 'otp' });
      expect(await me(client)).toMatchObject({
        factors: { pwd: authenticatedAt, otp: clock.now() },
        authenticatedAt,
      });
    });

    it('does not move the absolute end', async () => {
      const client = browse(await start({ idleTimeout: '1h', absoluteTimeout: '2h' }));
      await login(client);
      clock.advance('55m');
      await post(client, '/elevate', { factor: 'otp' });
      clock.advance('55m');
      await post(client, '/elevate', { factor: 'otp' });
      clock.advance('10m');
      expect(await isOut(client)).toBe(true);
    });

    it('is refused with 401 and a challenge where nobody is logged in, and stores nothing', async () => {
      const client = browse();
      const answer = await client.post('/elevate', { json: { factor: 'otp' } });
      expect(answer.status).toBe(401);
      expect(answer.json).toMatchObject({ code: 'SESSION_REQUIRED' });
      expect(answer.headers['www-authenticate']).toBe('Session error="login_required"');
      expect(answer.setCookie).toEqual([]);
      expect(await sessionsIn().count()).toBe(0);
      // Anonymous data is no login.
      await client.post('/write');
      expect((await client.post('/elevate', { json: { factor: 'otp' } })).status).toBe(401);
    });

    it('refuses an empty name', async () => {
      const client = browse();
      const before = await login(client);
      expect((await client.post('/elevate', { json: { factor: '' } })).status).toBe(500);
      expect(await me(client)).toEqual({ ...before, isNew: false });
    });

    it('together with a login is one session with both factors, and one cookie', async () => {
      const client = browse();
      await client.post('/write');
      const old = new Map(client.jar);
      const json = { name: 'alice', roles: ['reader'], factors: ['pwd'], rememberMe: true };
      const answer = await client.post('/login-and-elevate', { json });
      const now = clock.now();
      const expected = { principal: 'alice', roles: ['reader'], rememberMe: true };
      expect(answer.json).toMatchObject({ ...expected, factors: { pwd: now, otp: now } });
      expect(cookieIn(answer).value).toBe(tokenOf(client));
      expect(await me(client)).toMatchObject({
        ...expected,
        factors: { pwd: now, otp: now },
        handle: answer.json.handle,
      });
      expect(await sessionsIn().count()).toBe(1);
      expect(await isOut(client.another(old))).toBe(true);
    });

    it('before a login of the same request is forgotten by it', async () => {
      const client = browse();
      await login(client, { factors: ['pwd'] });
      const now = clock.now();
      await post(client, '/elevate-and-login', { name: 'bob', factors: ['pwd'] });
      expect(await me(client)).toMatchObject({ principal: 'bob', factors: { pwd: now } });
      expect((await me(client)).factors).not.toHaveProperty('otp');
    });
  });

  describe('switchPrincipal', () => {
    const SUE = {
      name: 'sue',
      roles: ['support'],
      permissions: ['act-as'],
      claims: { team: 'red' },
      factors: ['pwd', 'otp'],
      label: 'desk 4',
      clientKind: 'desktop',
    };

    it('acts as another one: their grants, who really acts, and what that one proved', async () => {
      const client = browse();
      const sue = await login(client, SUE);
      await client.post('/write');
      const old = new Map(client.jar);
      clock.advance('2m');
      const grants = { roles: ['customer'], permissions: ['buy'], claims: { tenant: 't1' } };
      const asBob = await post(client, '/switch', { name: 'bob', ...grants });
      expect(asBob).toEqual({
        handle: expect.any(String),
        isNew: false,
        principal: 'bob',
        actor: 'sue',
        ...grants,
        factors: sue.factors,
        rememberMe: false,
        createdAt: sue.createdAt,
        authenticatedAt: sue.authenticatedAt,
        expiresAt: clock.now() + 30 * MINUTE,
      });
      expect(asBob.handle).not.toBe(sue.handle);
      expect(await me(client)).toEqual(asBob);
      expect(await client.post('/write')).toMatchObject({ json: { written: 2 } });
      expect(await isOut(client.another(old))).toBe(true);
      expect(await sessionsOf('sue').list()).toEqual([]);
      expect(await sessionsOf('bob').list()).toEqual([
        expect.objectContaining({ handle: asBob.handle, principal: 'bob', actor: 'sue' }),
      ]);
    });

    it('gives nothing that is not given', async () => {
      const client = browse();
      await login(client, SUE);
      await post(client, '/switch', { name: 'bob' });
      expect(await me(client)).toMatchObject({ roles: [], permissions: [], claims: {} });
    });

    it('back is whose it was, with what they had, under another new id', async () => {
      const client = browse();
      const sue = await login(client, SUE);
      await post(client, '/switch', { name: 'bob', roles: ['customer'] });
      const old = new Map(client.jar);
      const back = await post(client, '/switch-back');
      expect(back).toEqual({ ...sue, isNew: false, handle: back.handle });
      expect([back.handle, old.get(COOKIE)]).not.toContain(sue.handle);
      expect(await me(client)).toEqual(back);
      expect(await isOut(client.another(old))).toBe(true);
      expect(await sessionsOf('bob').list()).toEqual([]);
      expect(await sessionsOf('sue').list()).toEqual([
        expect.objectContaining({ handle: back.handle, label: 'desk 4', clientKind: 'desktop' }),
      ]);
      expect(await sessionsIn().count()).toBe(1);
    });

    it('there and back in one request ends where it began, and ends the old id', async () => {
      const client = browse();
      const sue = await login(client, SUE);
      const old = new Map(client.jar);
      const back = await post(client, '/switch-there-and-back');
      expect(back).toEqual({ ...sue, isNew: false, handle: back.handle });
      expect(await me(client)).toEqual(back);
      expect(await isOut(client.another(old))).toBe(true);
    });

    it('back does nothing where nobody acts as another one', async () => {
      const client = browse();
      await post(client, '/switch-back');
      expect(client.jar.size).toBe(0);
      const sue = await login(client, SUE);
      const token = tokenOf(client);
      expect(await post(client, '/switch-back')).toEqual({ ...sue, isNew: false });
      expect(tokenOf(client)).toBe(token);
    });

    it('needs somebody who is logged in', async () => {
      const client = browse();
      const answer = await client.post('/switch', { json: { name: 'bob' } });
      expect(answer.status).toBe(401);
      expect(answer.json).toMatchObject({ code: 'SESSION_REQUIRED' });
      expect(answer.setCookie).toEqual([]);
    });

    it.each(['sue', 'bob'])('ends when all sessions of %s end', async (principal) => {
      const client = browse();
      await login(client, SUE);
      await post(client, '/switch', { name: 'bob' });
      await client.post('/write');
      await post(client, '/elevate', { factor: 'hwk' });
      await post(client, '/regenerate');
      expect(await sessionsOf(principal).revokeAll()).toBe(1);
      expect(await isOut(client)).toBe(true);
      expect(await sessionsIn().count()).toBe(0);
    });

    it('made right after the login, in one request, ends with those of both, too', async () => {
      for (const principal of ['sue', 'bob']) {
        const client = browse();
        const answer = await client.post('/login-and-switch', { json: SUE });
        expect(answer.json).toMatchObject({ principal: 'bob', actor: 'sue', roles: ['customer'] });
        expect(cookieIn(answer).value).toBe(tokenOf(client));
        expect(await me(client)).toMatchObject({ principal: 'bob', actor: 'sue' });
        expect(await sessionsIn().count()).toBe(1);
        expect(await sessionsOf(principal).revokeAll()).toBe(1);
        expect(await isOut(client)).toBe(true);
      }
    });

    it('again keeps who really acts, and ends with their sessions, not with those between', async () => {
      for (const [principal, ended] of [
        ['bob', 0],
        ['sue', 1],
        ['carol', 1],
      ] as const) {
        const client = browse();
        const { factors } = await login(client, SUE);
        await post(client, '/switch', { name: 'bob' });
        await post(client, '/switch', { name: 'carol', roles: ['customer'] });
        expect(await me(client)).toMatchObject({ principal: 'carol', actor: 'sue', factors });
        expect([principal, await sessionsOf(principal).revokeAll()]).toEqual([principal, ended]);
        expect(await isOut(client)).toBe(ended === 1);
        if (ended === 1) continue;
        await post(client, '/switch-back');
        expect(await me(client)).toMatchObject({ principal: 'sue', roles: ['support'] });
        await sessionsOf('sue').revokeAll();
      }
    });

    it('leaves the sessions of both as they are, and those of both leave it', async () => {
      const [ofSue, ofBob, acting] = [browse(), browse(), browse()];
      await login(ofSue, SUE);
      await login(ofBob, { name: 'bob' });
      await login(acting, SUE);
      await post(acting, '/switch', { name: 'bob' });
      expect(await sessionsOf('sue').revokeOthers(await me(acting))).toBe(1);
      expect(await isOut(ofSue)).toBe(true);
      expect(await sessionsOf('bob').revokeOthers(await me(acting))).toBe(1);
      expect(await isOut(ofBob)).toBe(true);
      expect(await me(acting)).toMatchObject({ principal: 'bob', actor: 'sue' });
      await post(acting, '/switch-back');
      expect(await sessionsOf('bob').revokeAll()).toBe(0);
      expect(await me(acting)).toMatchObject({ principal: 'sue' });
    });

    it.each(['reject', 'retire-oldest', 'retire-least-recently-used'] as const)(
      'within a limit (%s) is no login: it is not refused, and nobody gives way to it',
      async (onLimit) => {
        const limited = await start({ maxSessions: 1, onLimit });
        const [ofBob, acting] = [browse(limited), browse(limited)];
        await login(ofBob, { name: 'bob' });
        await login(acting, SUE);
        await post(acting, '/switch', { name: 'bob' });
        expect(await me(acting)).toMatchObject({ principal: 'bob', actor: 'sue' });
        expect(await me(ofBob)).toMatchObject({ principal: 'bob' });
        await post(acting, '/switch-back');
        expect(await me(acting)).toMatchObject({ principal: 'sue' });
      },
    );

    it.each(['reject', 'retire-oldest', 'retire-least-recently-used'] as const)(
      'takes no place of the other one within a limit (%s): who logs in meets no guest',
      async (onLimit) => {
        const limited = await start({ maxSessions: 1, onLimit });
        const [ofBob, acting] = [browse(limited), browse(limited)];
        await login(acting, SUE);
        await post(acting, '/switch', { name: 'bob' });
        await login(ofBob, { name: 'bob' });
        expect(await me(ofBob)).toMatchObject({ principal: 'bob' });
        expect(await me(acting)).toMatchObject({ principal: 'bob', actor: 'sue' });
      },
    );
  });

  describe('rememberMe', () => {
    const remembering: SessionModuleOptions = {
      rememberMe: { idleTimeout: '7d', absoluteTimeout: '20d' },
    };

    it('has ends of its own, idle and absolute', async () => {
      const app = await start(remembering);
      const [lasting, usual] = [browse(app), browse(app)];
      const began = clock.now();
      expect(await login(lasting, { rememberMe: true })).toMatchObject({ rememberMe: true });
      expect(await login(usual)).toMatchObject({ rememberMe: false });
      expect(await me(lasting)).toMatchObject({ rememberMe: true, expiresAt: began + 7 * DAY });
      expect(await sessionsOf('alice', app).list()).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ rememberMe: true, expiresAt: began + 7 * DAY }),
          expect.objectContaining({ rememberMe: false, expiresAt: began + 30 * MINUTE }),
        ]),
      );
      clock.advance('30m');
      expect(await isOut(usual)).toBe(true);
      clock.advance(6 * DAY);
      expect(await isOut(lasting)).toBe(false);
      clock.advance(7 * DAY - 1);
      expect(await isOut(lasting)).toBe(false);
      clock.advance('6d');
      expect(await me(lasting)).toMatchObject({ expiresAt: began + 20 * DAY });
      clock.advance(began + 20 * DAY - clock.now() - 1);
      expect(await isOut(lasting)).toBe(false);
      clock.advance(1);
      expect(await isOut(lasting)).toBe(true);
    });

    it('ends when it was not used for its idle timeout', async () => {
      const client = browse(await start(remembering));
      await login(client, { rememberMe: true });
      clock.advance('7d');
      expect(await isOut(client)).toBe(true);
      expect(client.jar.size).toBe(0);
    });

    it('without options lasts 14 days idle, 30 in all', async () => {
      const client = browse();
      await login(client, { rememberMe: true });
      for (const days of [13, 13]) {
        clock.advance(days * DAY);
        expect(await isOut(client)).toBe(false);
      }
      clock.advance(4 * DAY);
      expect(await isOut(client)).toBe(true);
    });

    it('has a cookie that outlives the browser, others have not', async () => {
      const client = browse(await start(remembering));
      const json = { name: 'alice' };
      const remembered = await client.post('/login', { json: { ...json, rememberMe: true } });
      expect(maxAgeIn(remembered)).toBe(String((20 * DAY) / 1_000));
      const plain = await client.post('/login', { json });
      expect(maxAgeIn(plain)).toBeUndefined();
      expect(cookieIn(plain).attributes.expires).toBeUndefined();
      expect(await me(client)).toMatchObject({ rememberMe: false });
      clock.advance('30m');
      expect(await isOut(client)).toBe(true);
    });

    it.each<[string, string, object]>([
      ['a new id', '/regenerate', {}],
      ['a further factor', '/elevate', { factor: 'otp' }],
      ['acting as another one', '/switch', { name: 'bob' }],
      ['a change of grants', '/me', {}],
    ])('survives %s, with what is left of its time', async (_, path, json) => {
      const app = await start(remembering);
      const client = browse(app);
      const began = clock.now();
      await login(client, { rememberMe: true });
      clock.advance('5d');
      await sessionsOf('alice', app).updateGrants({});
      const send = () => (path === '/me' ? client.get(path) : client.post(path, { json }));
      const answer = await send();
      expect(answer.json).toMatchObject({ rememberMe: true });
      expect(maxAgeIn(answer)).toBe(String((15 * DAY) / 1_000));
      expect(await me(client)).toMatchObject({ rememberMe: true, expiresAt: began + 12 * DAY });
      clock.advance('6d');
      expect(await isOut(client)).toBe(false);
      clock.advance('7d');
      expect(await isOut(client)).toBe(true);
    });

    describe('on two nodes over one Redis', () => {
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

      byHandle('data changed by handle', () => {
        it('is extended by its own idle timeout, whichever node it is used on', async () => {
          const options = { ...remembering, store: undefined, redis: redis.connection() };
          const [one, two] = [await start(options), await start(options)];
          const client = browse(one);
          const { handle } = await login(client, { rememberMe: true });
          const [key] = (await probe.keys(`*:s:${handle}`)) as [string];
          const onTwo = opened.browser(two, client.jar);
          const left = async () => (await probe.client.pttl(key)) / DAY;
          expect(await left()).toBeGreaterThan(6.99);
          // Its touch is due at the node that has not seen it yet, which must not take it for a usual one.
          await probe.client.pexpire(key, 3 * DAY);
          expect((await onTwo.get('/me')).json).toMatchObject({ rememberMe: true });
          expect(await left()).toBeGreaterThan(6.99);
          for (const use of [
            () => onTwo.post('/write'),
            () => sessionsIn(two).touch(handle),
            () => sessionsIn(two).update(handle, (session) => session.set('seen', true)),
          ]) {
            await use();
            expect(await left()).toBeGreaterThan(6.99);
            expect(await left()).toBeLessThanOrEqual(7);
          }
          await probe.client.pexpire(key, 3 * DAY);
          expect((await onTwo.get('/glance')).json).toMatchObject({ rememberMe: true });
          expect(await left()).toBeLessThanOrEqual(3);
          expect(await sessionsIn(two).touch(handle)).toBe(true);
          expect(await left()).toBeGreaterThan(6.99);
        });
      });
    });
  });

  describe('the preset', () => {
    it.each([
      ['aal1', 30 * DAY, 30 * DAY],
      ['aal2', HOUR, 24 * HOUR],
      ['aal3', 15 * MINUTE, 12 * HOUR],
    ] as const)('%s ends sessions as it says, lasting ones too', async (preset, idle, absolute) => {
      const app = await start({ preset });
      for (const rememberMe of [false, true]) {
        const [idling, active] = [browse(app), browse(app)];
        const began = clock.now();
        await login(idling, { rememberMe });
        await login(active, { rememberMe });
        clock.advance(idle - 1);
        expect(await isOut(idling.another(idling.jar))).toBe(false);
        clock.advance(idle === absolute ? 1 : idle);
        expect(await isOut(idling)).toBe(true);

        await login(active, { rememberMe });
        const again = idle === absolute ? began + absolute : clock.now();
        while (clock.now() + idle / 2 < again + absolute) {
          clock.advance(idle / 2);
          expect(await isOut(active)).toBe(false);
        }
        clock.advance(again + absolute - clock.now() - 1);
        expect(await isOut(active)).toBe(false);
        clock.advance(1);
        expect(await isOut(active)).toBe(true);
      }
    });

    it('can be made shorter, not longer', async () => {
      const client = browse(await start({ preset: 'aal2', idleTimeout: '10m' }));
      await login(client);
      clock.advance('10m');
      expect(await isOut(client)).toBe(true);
      await expect(start({ preset: 'aal2', idleTimeout: '61m' })).rejects.toThrow(/idleTimeout/);
      await expect(start({ preset: 'aal3', absoluteTimeout: '13h' })).rejects.toThrow(
        /absoluteTimeout/,
      );
    });
  });

  describe('the client in the list', () => {
    const FIREFOX =
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0';
    const SAFARI =
      'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1';
    /** What the list tells of a login with these headers. */
    const clientOf = async (headers: Record<string, string>, app = running) => {
      const answer = await browse(app).post('/login', { json: { name: 'alice' }, headers });
      expect(answer.status).toBe(200);
      const [newest] = await sessionsOf('alice', app).list({ limit: 1 });
      await sessionsOf('alice', app).revokeAll();
      return JSON.parse(JSON.stringify(newest?.client)) as Record<string, string>;
    };

    it.each<[string, Record<string, string>, object]>([
      [
        'a browser',
        { 'user-agent': FIREFOX },
        { browser: 'Firefox 145', os: 'Windows 10', device: 'desktop' },
      ],
      [
        'a phone',
        { 'user-agent': SAFARI },
        { browser: 'Safari 17', os: 'iOS 17', device: 'Apple iPhone' },
      ],
      ['a program', { 'user-agent': 'curl/8.5.0' }, { browser: 'curl 8' }],
      ['nothing', {}, {}],
      ['an empty name', { 'user-agent': '' }, {}],
      ['only punctuation', { 'user-agent': '(;)/' }, {}],
    ])('is as %s says, with its address', async (_, headers, software) => {
      expect(await clientOf(headers)).toEqual({ address: '127.0.0.1', ...software });
    });

    it.each<[string, string]>([
      ['longer than any', `Mozilla/5.0 ${'x'.repeat(10_000)}`],
      ['long in one word', 'x'.repeat(10_000)],
      ['long in its name', `${'x'.repeat(300)}/1.0 (y)`],
      ['long in its version', `Some/${'9'.repeat(300)} (y)`],
      ['with markup in its name', '<script>alert(1)</script>/2 (x)'],
      ['with markup in its device', 'Mozilla/5.0 (Linux; Android 14; <b onload="x()">) Chrome/9'],
      ['with quotes', `a"b'c\`d&e/2 (x)`],
      ['with tabs', 'a\tb\tc/2 (x)'],
      ['with control characters', 'a\u009b31mred\u0085/2 (x)'],
      ['with nested slashes', `${'a/'.repeat(5_000)} (`],
      ['named as what objects have', '__proto__/1 (constructor)'],
    ])('is short and plain text for a client that is %s', async (_, agent) => {
      const { address, ...software } = await clientOf({ 'user-agent': agent });
      expect(address).toBe('127.0.0.1');
      for (const text of Object.values(software)) {
        expect(text.length).toBeLessThanOrEqual(48);
        // eslint-disable-next-line no-control-regex -- they are what must not be there
        expect(text).not.toMatch(/[\u0000-\u001f\u007f-\u009f<>&"'`]/);
      }
    });

    describe('behind a proxy', () => {
      const trusting = (app: INestApplication) => {
        if (adapter !== 'express') return;
        (app.getHttpAdapter().getInstance() as Application).set('trust proxy', true);
      };
      const behind = (trust: boolean) =>
        start({}, trust ? { fastify: { trustProxy: true }, setup: trusting } : {});

      it('has the address that a trusted one tells', async () => {
        const app = await behind(true);
        const told = async (value: string) =>
          (await clientOf({ 'x-forwarded-for': value }, app)).address;
        expect(await told('203.0.113.7')).toBe('203.0.113.7');
        expect(await told('2001:db8::7, 10.0.0.1')).toBe('2001:db8::7');
        expect(await clientOf({}, app)).toEqual({ address: '127.0.0.1' });
      });

      it('has none of what an untrusted one tells', async () => {
        const app = await behind(false);
        expect(await clientOf({ 'x-forwarded-for': '203.0.113.7' }, app)).toEqual({
          address: '127.0.0.1',
        });
      });

      it('has an address that is short and plain text, whatever a trusted one passes on', async () => {
        const app = await behind(true);
        for (const value of ['<script>alert(1)</script>', 'x'.repeat(5_000), 'a\u009b31m"b']) {
          const { address = '' } = await clientOf({ 'x-forwarded-for': value }, app);
          expect(address.length).toBeLessThanOrEqual(48);
          // eslint-disable-next-line no-control-regex -- they are what must not be there
          expect(address).not.toMatch(/[\u0000-\u001f\u007f-\u009f<>&"'`]/);
        }
      });
    });

    it('is that of the last login, and marks the session that asks as current', async () => {
      const [phone, laptop] = [browse(), browse()];
      const json = { name: 'alice' };
      await phone.post('/login', { json, headers: { 'user-agent': SAFARI } });
      clock.advance('1m');
      await laptop.post('/login', { json, headers: { 'user-agent': FIREFOX } });
      const seenBy = async (client: HttpClient) =>
        ((await client.get('/devices')).json as unknown as { client: { os: string } }[]).map(
          ({ client: { os }, ...one }) => [os, (one as unknown as { current: boolean }).current],
        );
      expect(await seenBy(laptop)).toEqual([
        ['Windows 10', true],
        ['iOS 17', false],
      ]);
      expect(await seenBy(phone)).toEqual([
        ['Windows 10', false],
        ['iOS 17', true],
      ]);
      const outside = await sessionsOf('alice').list();
      expect(outside.map(({ current }) => current)).toEqual([false, false]);
      clock.advance('1m');
      await phone.post('/login', { json, headers: { 'user-agent': FIREFOX } });
      expect(await seenBy(phone)).toEqual([
        ['Windows 10', true],
        ['Windows 10', false],
      ]);
    });
  });
});
