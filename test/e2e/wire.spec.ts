import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Header, HttpCode, Post } from '@nestjs/common';
import type { Application } from 'express';
import { Session, type SessionModuleOptions } from 'nestjs-distributed-session';
import {
  ADAPTERS,
  NEAR_CACHE,
  SECRET,
  startApp,
  type TestApp,
  type TestAppOptions,
} from '../support/app.js';
import {
  HttpClient,
  parseSetCookie,
  type Answer,
  type ParsedCookie,
} from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { expectNoNewId, SIGNED_TOKEN, TOKEN } from '../support/tokens.js';

const OTHER_SECRET = 'Qm3vT7zLw9XcB2nRk5yUe8HsPf4JdA6g';

@Controller()
class Wire {
  @Get('read') read(@Session() session: Session) {
    return { n: session.get('n') ?? null, principal: session.principal ?? null };
  }

  @Post('write') write(@Session() session: Session) {
    return { n: session.increment('n') };
  }

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('alice');
    return {};
  }

  @Post('logout') @HttpCode(204) logout(@Session() session: Session) {
    return session.destroy();
  }

  @Post('private') @Header('Cache-Control', 'private, max-age=5') @Header('Vary', 'Accept') own(
    @Session() session: Session,
  ) {
    session.increment('n');
    return {};
  }

  @Post('public') @Header('Cache-Control', 'public, max-age=5') cacheable(
    @Session() session: Session,
  ) {
    session.increment('n');
    return {};
  }
}

describe.each(ADAPTERS)('what travels on %s', (adapter) => {
  let server: RedisUnderTest;
  let probe: RedisProbe;
  let now = Date.now();
  const opened: { close(): unknown }[] = [];

  const start = async (session: SessionModuleOptions, more: Partial<TestAppOptions> = {}) => {
    const clock = { now: () => now };
    const running = await startApp({
      adapter,
      controllers: [Wire],
      session: { redis: server.connection(), clock, ...session },
      ...more,
    });
    opened.push(running);
    return running;
  };
  const browse = (running: TestApp) => {
    const client = new HttpClient(running.port);
    opened.push(client);
    return client;
  };
  const visit = async (session: SessionModuleOptions, more?: Partial<TestAppOptions>) =>
    browse(await start(session, more));
  const theCookie = (answer: Answer) => {
    expect(answer.setCookie).toHaveLength(1);
    return parseSetCookie(answer.setCookie[0] as string);
  };

  beforeAll(async () => {
    server = await startRedis();
    probe = await RedisProbe.start(server);
  });

  beforeEach(() => probe.flush());

  afterEach(async () => {
    for (const one of opened.splice(0).toReversed()) await one.close();
  });

  afterAll(async () => {
    await probe.stop();
    await server.stop();
  });

  describe('the cookie', () => {
    it('by default is for this host, this browser session, https and no script', async () => {
      const cookie = theCookie(await (await visit({})).post('/write'));
      expect(cookie.name).toBe('__Host-session');
      expect(cookie.value).toMatch(TOKEN);
      expect(cookie.attributes).toEqual({ path: '/', httponly: '', secure: '', samesite: 'Lax' });
    });

    it('carries a signature where there is a secret', async () => {
      const cookie = theCookie(await (await visit({ secret: SECRET })).post('/write'));
      expect(cookie.value).toMatch(SIGNED_TOKEN);
    });

    it('has all its attributes as they were asked for', async () => {
      const client = await visit({
        absoluteTimeout: '2h',
        cookie: {
          name: '__Secure-sid',
          domain: 'example.com',
          path: '/',
          sameSite: 'none',
          secure: true,
          partitioned: true,
          priority: 'high',
          persistent: true,
        },
      });
      const { name, attributes } = theCookie(await client.post('/write'));
      expect(name).toBe('__Secure-sid');
      expect(attributes).toEqual({
        domain: 'example.com',
        path: '/',
        httponly: '',
        secure: '',
        samesite: 'None',
        partitioned: '',
        priority: 'High',
        'max-age': '7200',
      });
      // Cleared by the same attributes, or browsers would keep it.
      const cleared = theCookie(await client.post('/logout'));
      expect(cleared).toMatchObject({ name, value: '' });
      expect(cleared.attributes).toEqual({
        ...attributes,
        'max-age': '0',
        expires: 'Thu, 01 Jan 1970 00:00:00 GMT',
      });
    });

    it('has another one beside it for load balancers, if asked for', async () => {
      const client = await visit({ cookie: { routing: 'route' } });
      const cookies = (answer: Answer) => answer.setCookie.map(parseSetCookie);
      const names = (answer: Answer) => cookies(answer).map(({ name }) => name);
      const first = await client.post('/write');
      const [session, route] = cookies(first) as [ParsedCookie, ParsedCookie];
      expect(names(first)).toEqual([session.name, 'route']);
      expect(first.headers.vary).toBe('Cookie');
      expect(route.attributes).toEqual(session.attributes);
      expect(route.value).toMatch(/^[0-9a-f]{4}$/);
      // It stays when the id is renewed, and when the session ends.
      expect(names(await client.post('/login'))).toEqual([session.name]);
      expect(names(await client.post('/logout'))).toEqual([session.name]);
      expect(names(await client.post('/write'))).toEqual([session.name]);
      expect(client.jar.get('route')).toBe(route.value);
      // What is none of ours is not passed on.
      client.jar.set('route', 'x'.repeat(50));
      expect(names(await client.post('/login'))).toEqual([session.name, 'route']);
      expect(client.jar.get('route')).toMatch(/^[0-9a-f]{4}$/);
    });

    it('for load balancers lives as long as the session', async () => {
      const client = await visit({ cookie: { routing: 'route', persistent: true } });
      await client.post('/write');
      const value = client.jar.get('route');
      const [, route] = (await client.post('/login')).setCookie.map(parseSetCookie);
      expect(route).toMatchObject({ name: 'route', value, attributes: { 'max-age': '86400' } });
    });

    it('without Secure has a name and path of its own', async () => {
      const client = await visit({ cookie: { secure: false, sameSite: 'strict', path: '/shop' } });
      const { name, attributes } = theCookie(await client.post('/write'));
      expect(name).toBe('session');
      expect(attributes).toEqual({ path: '/shop', httponly: '', samesite: 'Strict' });
    });

    it('is sent when the session begins, is renewed or ends, and at no other time', async () => {
      const client = await visit({ cookie: { persistent: true } });
      const write = async () => {
        const before = client.jar.get('__Host-session');
        const { setCookie } = await client.post('/write');
        expectNoNewId(setCookie.map(parseSetCookie)[0]?.value, before);
      };
      expect((await client.get('/read')).setCookie).toEqual([]);
      theCookie(await client.post('/write'));
      now += 120_000;
      await write();
      expect((await client.get('/read')).setCookie).toEqual([]);
      theCookie(await client.post('/login'));
      await write();
      theCookie(await client.post('/logout'));
      expect((await client.post('/logout')).setCookie).toEqual([]);
    });

    it('is cleared when it names no session', async () => {
      const client = await visit({});
      await client.post('/write');
      await probe.flush();
      const cookie = theCookie(await client.get('/read'));
      expect(cookie).toMatchObject({ value: '', attributes: { 'max-age': '0', secure: '' } });
    });

    describe("with secure: 'auto'", () => {
      const https = { headers: { 'x-forwarded-proto': 'https' } };
      const trusting: Partial<TestAppOptions> = {
        fastify: { trustProxy: true },
        setup: (app) => {
          const instance: unknown = app.getHttpAdapter().getInstance();
          if (adapter === 'express') (instance as Application).set('trust proxy', true);
        },
      };

      it('is Secure exactly on encrypted requests, as a trusted proxy tells', async () => {
        const client = await visit({ cookie: { secure: 'auto' } }, trusting);
        const safe = theCookie(await client.another().post('/write', https));
        expect(safe.name).toBe('session');
        expect(safe.attributes).toHaveProperty('secure');
        const plain = theCookie(await client.another().post('/write'));
        expect(plain.attributes).not.toHaveProperty('secure');
      });

      it('believes no proxy that the application does not trust', async () => {
        const client = await visit({ cookie: { secure: 'auto' } });
        expect(theCookie(await client.post('/write', https)).attributes).not.toHaveProperty(
          'secure',
        );
      });
    });
  });

  describe('an answer with the cookie', () => {
    it('is kept by no cache, and one without it may be', async () => {
      const client = await visit({});
      const first = await client.post('/write');
      expect(first.headers).toMatchObject({ 'cache-control': 'no-store', vary: 'Cookie' });
      const second = NEAR_CACHE ? await client.get('/read') : await client.post('/write');
      expect(second.headers['cache-control']).toBeUndefined();
      const last = await client.post('/logout');
      expect(last.headers).toMatchObject({ 'cache-control': 'no-store', vary: 'Cookie' });
    });

    it('keeps a private policy of the handler, and replaces a public one', async () => {
      const own = await (await visit({})).post('/private');
      expect(own.headers['cache-control']).toBe('private, max-age=5');
      expect(own.headers.vary?.split(/, */)).toEqual(['Accept', 'Cookie']);
      const open = await (await visit({})).post('/public');
      expect(open.headers['cache-control']).toBe('no-store');
    });
  });

  describe('the token in a header', () => {
    it('X-Auth-Token: comes and goes there, and no cookie is set or read', async () => {
      const client = await visit({ transport: 'x-auth-token', secret: SECRET });
      const first = await client.post('/write');
      const token = first.headers['x-auth-token'] as string;
      expect(token).toMatch(SIGNED_TOKEN);
      expect(first.setCookie).toEqual([]);
      expect(first.headers).toMatchObject({ 'cache-control': 'no-store', vary: 'X-Auth-Token' });

      const headers = { 'x-auth-token': token };
      const again = await client.post('/write', { headers });
      expect(again.json).toEqual({ n: 2 });
      expectNoNewId(again.headers['x-auth-token'] as string | undefined, token);
      client.jar.set('__Host-session', token);
      expect((await client.get('/read')).json).toEqual({ n: null, principal: null });
      client.jar.clear();

      const login = await client.post('/login', { headers });
      const next = login.headers['x-auth-token'] as string;
      expect(next).not.toBe(token);
      const renewed = { headers: { 'x-auth-token': next } };
      expect((await client.get('/read', renewed)).json).toEqual({ n: 2, principal: 'alice' });
      const logout = await client.post('/logout', renewed);
      expect(logout.headers['x-auth-token']).toBe('');
      expect((await client.get('/read', renewed)).json).toEqual({ n: null, principal: null });
    });

    it('Authorization: Session comes in, Authentication-Info goes out', async () => {
      const client = await visit({ transport: 'authorization', secret: SECRET });
      const first = await client.post('/write');
      const info = first.headers['authentication-info'] as string;
      const token = /^session="([^"]+)"$/.exec(info)?.[1] as string;
      expect(first.headers.vary).toBe('Authorization');
      expect(first.setCookie).toEqual([]);
      const read = async (authorization: string) =>
        (await client.get('/read', { headers: { authorization } })).json.n;
      expect(await read(`Session ${token}`)).toBe(1);
      expect(await read(`session   ${token}`)).toBe(1);
      expect(await read(`Bearer ${token}`)).toBeNull();
      expect(await read(token)).toBeNull();
      expect(await read(`Session ${token} ${token}`)).toBeNull();

      const headers = { authorization: `Session ${token}` };
      const logout = await client.post('/logout', { headers });
      expect(logout.headers['authentication-info']).toBe('session=""');
      expect(await read(`Session ${token}`)).toBeNull();
    });

    it('of a list the first that brings one counts, and the answer goes the same way', async () => {
      const client = await visit({ transport: ['x-auth-token', 'cookie'], secret: SECRET });
      // Nothing came: the first of the list.
      const stranger = await client.post('/write');
      expect(stranger.headers['x-auth-token']).toBeDefined();
      expect(stranger.setCookie).toEqual([]);
      const byHeader = { 'x-auth-token': stranger.headers['x-auth-token'] as string };

      const other = client.another();
      const theirs = (await other.post('/write')).headers['x-auth-token'] as string;
      const byCookie = { cookie: `__Host-session=${theirs}` };
      const login = await other.post('/login', { headers: byCookie });
      expect(login.headers['x-auth-token']).toBeUndefined();
      theCookie(login);

      await client.post('/write', { headers: byHeader });
      const both = await client.get('/read', {
        headers: { ...byHeader, cookie: other.cookieHeader },
      });
      expect(both.json).toEqual({ n: 2, principal: null });
      const loginByHeader = await client.post('/login', { headers: byHeader });
      expect(loginByHeader.headers['x-auth-token']).toBeDefined();
      expect(loginByHeader.setCookie).toEqual([]);
    });

    it('may travel in a way of your own', async () => {
      const client = await visit({
        transport: {
          read: (request) => request.header('x-mine')?.split(',') ?? [],
          write: (_, response, token) => response.append('X-Mine', token),
          clear: (_, response) => response.append('X-Mine', 'none'),
        },
      });
      const token = (await client.post('/write')).headers['x-mine'] as string;
      const headers = { 'x-mine': token };
      expect((await client.get('/read', { headers })).json).toMatchObject({ n: 1 });
      expect((await client.post('/logout', { headers })).headers['x-mine']).toBe('none');
    });
  });

  it('a secret on its way out still opens sessions, and is replaced on the way', async () => {
    const before = await visit({ secret: SECRET });
    await before.post('/write');
    const old = new Map(before.jar);

    const rotating = browse(await start({ secret: [OTHER_SECRET, SECRET] }));
    for (const [name, value] of old) rotating.jar.set(name, value);
    const answer = await rotating.get('/read');
    expect(answer.json).toMatchObject({ n: 1 });
    const cookie = theCookie(answer);
    const [id, mac] = cookie.value.split('.');
    const [oldId, oldMac] = (old.get('__Host-session') as string).split('.');
    expect(id).toBe(oldId);
    expect(mac).not.toBe(oldMac);
    expect((await rotating.get('/read')).setCookie).toEqual([]);

    const after = browse(await start({ secret: OTHER_SECRET }));
    after.jar.set(cookie.name, cookie.value);
    expect((await after.get('/read')).json).toMatchObject({ n: 1 });
    const late = after.another(old);
    const commands = await probe.commandsDuring(async () => {
      expect((await late.get('/read')).json).toMatchObject({ n: null });
    });
    expect(commands).toEqual([]);
  });
});
