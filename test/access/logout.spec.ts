import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  All,
  Body,
  ConflictException,
  Controller,
  Get,
  Header,
  HttpCode,
  ParseIntPipe,
  Post,
  Redirect,
  Res,
} from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { of, type Observable } from 'rxjs';
import {
  AllowAnonymous,
  Logout,
  Principal,
  RequireSession,
  Session,
  SessionCsrfGuard,
  SessionGuard,
  SessionModule,
  SkipSession,
  UseSession,
  type LogoutOptions,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { ADAPTERS, startApp, until, type TestApp, type TestAppOptions } from '../support/app.js';
import { parseSetCookie, type Answer, type HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisGates } from '../support/redis-gates.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

interface AnyResponse {
  status(code: number): AnyResponse;
  header(name: string, value: string): AnyResponse;
  send(body?: unknown): unknown;
}

/** What the handlers below saw. */
const seen: (string | undefined)[] = [];

@Controller()
class Door {
  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('alice');
  }

  @RequireSession() @Get('me') me(@Principal() principal: string) {
    return { principal };
  }

  @Post('logout') @HttpCode(204) @Logout() logout() {}

  @Logout() @HttpCode(200) @Post('farewell') farewell(@Session() session: Session) {
    seen.push(session.principal);
    session.set('left', true);
    return { bye: session.principal ?? null };
  }

  @Post('later') @Logout() async later() {
    await new Promise((resolve) => setTimeout(resolve, 5));
    return { later: true };
  }

  @Post('observed') @Logout() observed(): Observable<object> {
    return of({ n: 1 }, { n: 2 });
  }

  @Post('redirected') @Logout() @Redirect('/', 303) redirected() {}

  @Post('by-hand') @Logout() byHand(@Res() response: AnyResponse) {
    response.status(303).header('location', '/').send();
  }

  @Post('twice') @HttpCode(204) @Logout() async twice(@Session() session: Session) {
    await session.destroy();
    await session.save();
  }

  @Post('not-now') @Logout({ clearSiteData: true }) notNow() {
    throw new ConflictException('an upload is running');
  }

  @Post('checked') @HttpCode(204) @Logout() checked(@Body('n', ParseIntPipe) n: number) {
    seen.push(String(n));
  }

  @All('all') @HttpCode(204) @Logout() all(@Session() session: Session) {
    seen.push(session.principal);
  }

  @Get('wrong') @Logout() wrong() {
    seen.push('wrong');
  }

  @Post('private') @HttpCode(204) @Header('Cache-Control', 'private') @Logout() private() {}

  @Post('clean') @HttpCode(204) @Logout({ clearSiteData: true }) clean() {}

  @Post('clean-some')
  @HttpCode(204)
  @Logout({
    clearSiteData: ['cache', 'executionContexts'],
  })
  some() {}

  @Post('clean-none') @HttpCode(204) @Logout({ clearSiteData: false }) none() {}

  @SkipSession() @Post('skipped') @Logout() skipped() {}
}

/** Who may log in behind a guard for everything. */
@AllowAnonymous()
@Controller('open')
class Open {
  @Post('login') async login(@Session() session: Session) {
    await session.authenticate('alice');
  }
}

@UseSession('admin')
@Controller('admin')
class AdminDoor {
  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('root');
  }

  @RequireSession() @Get('me') me() {
    return {};
  }

  @Post('logout') @HttpCode(204) @Logout() logout() {}
}

describe.each(ADAPTERS)('@Logout() on %s', (adapter) => {
  const opened = new Opened();
  let server: RedisUnderTest;
  let probe: RedisProbe;
  let app: TestApp;
  let client: HttpClient;

  const start = (session: SessionModuleOptions = {}, options: Partial<TestAppOptions> = {}) =>
    startApp({
      adapter,
      session: { redis: server.connection(), ...session },
      controllers: [Door],
      ...options,
    });

  async function loggedIn(of = app): Promise<HttpClient> {
    const browser = opened.browser(of);
    expect((await browser.post('/login')).status).toBe(200);
    return browser;
  }

  /** The session cannot be used any more, nor is anything of it left. */
  async function expectEnded(answer: Answer, cookies: Map<string, string>): Promise<void> {
    expect(answer.setCookie).toHaveLength(1);
    const { value, attributes } = parseSetCookie(answer.setCookie[0]!);
    expect({ value, maxAge: attributes['max-age'] }).toEqual({ value: '', maxAge: '0' });
    expect((await client.another(cookies).get('/me')).status).toBe(401);
    expect((await probe.liveRecords()).size).toBe(0);
  }

  beforeAll(async () => {
    server = await startRedis({ keyPrefixes: ['sess.admin'] });
    probe = await RedisProbe.start(server);
    app = await start();
  });

  beforeEach(async () => {
    await probe.flush();
    seen.length = 0;
    client = await loggedIn();
  });

  afterAll(async () => {
    await opened.close();
    await app.close();
    await probe.stop();
    await server.stop();
  });

  it.each<[string, number]>([
    ['/logout', 204],
    ['/farewell', 200],
    ['/later', 201],
    ['/observed', 201],
    ['/redirected', 303],
    ['/by-hand', 303],
    ['/twice', 204],
  ])('ends the session, however its handler answers: %s', async (path, status) => {
    const cookies = new Map(client.jar);
    const answer = await client.post(path);
    expect(answer.status).toBe(status);
    await expectEnded(answer, cookies);
    expect(client.jar.size).toBe(0);
  });

  it('lets the handler see whose session ends, and drops what it writes', async () => {
    expect((await client.post('/farewell')).json).toEqual({ bye: 'alice' });
    expect(seen).toEqual(['alice']);
  });

  it('takes two commands in Redis', async () => {
    const commands = await probe.commandsDuring(() => client.post('/logout'));
    expect(commands.length).toBeLessThanOrEqual(2);
  });

  it('answers the same without a session, with one that has ended, and with one that never was', async () => {
    const cookies = new Map(client.jar);
    const first = await client.post('/logout');
    const nobody = await opened.browser(app).post('/logout');
    const again = await client.another(cookies).post('/logout');
    const never = await opened.browser(app, [['__Host-session', 'A'.repeat(44)]]).post('/logout');
    for (const { status, text } of [nobody, again, never]) {
      expect({ status, text }).toEqual({ status: first.status, text: first.text });
    }
    expect(nobody.setCookie).toEqual([]);
    // Nobody needs a cookie that opens nothing.
    expect(again.setCookie).toEqual(first.setCookie);
    expect(never.setCookie).toEqual(first.setCookie);
    expect(await probe.commandsDuring(() => opened.browser(app).post('/logout'))).toEqual([]);
  });

  it('leaves the session alone if the handler throws, or is not reached', async () => {
    expect((await client.post('/not-now')).status).toBe(409);
    expect((await client.post('/checked', { json: { n: 'x' } })).status).toBe(400);
    expect((await client.get('/me')).json).toEqual({ principal: 'alice' });
    expect((await client.post('/checked', { json: { n: 1 } })).status).toBe(204);
    expect((await client.get('/me')).status).toBe(401);
  });

  it.each(['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])(
    'answers 405 to %s, and ends nothing',
    async (method) => {
      const answer = await client.send(method, '/all');
      expect(answer.status).toBe(405);
      expect(answer.headers.allow).toBe('POST');
      expect(answer.setCookie).toEqual([]);
      expect(seen).toEqual([]);
      expect((await client.get('/me')).status).toBe(200);
      expect((await client.post('/all')).status).toBe(204);
      expect((await client.get('/me')).status).toBe(401);
    },
  );

  it('does not log out by a route of another method', async () => {
    const answer = await client.get('/wrong');
    expect(answer.status).toBe(405);
    expect(answer.headers.allow).toBe('POST');
    expect(seen).toEqual([]);
    // Where only POST has a route there is nothing to be found, as anywhere in Nest.
    expect((await client.get('/logout')).status).toBe(404);
    expect((await client.get('/me')).status).toBe(200);
  });

  it.each<[string, SessionModuleOptions['cookie']]>([
    ['the default', {}],
    ['a name', { name: 'sid', secure: false, sameSite: 'strict' }],
    ['a domain and a path', { domain: 'shop.test', path: '/', name: 'sid' }],
    ['a third party', { sameSite: 'none', partitioned: true, priority: 'high' }],
    ['a lasting one', { persistent: true }],
    ['as the request came', { secure: 'auto' }],
  ])('clears the cookie with the attributes that it was set with: %s', async (_, cookie) => {
    const other = opened.add(await start({ cookie }));
    const browser = opened.browser(other);
    const [set] = (await browser.post('/login')).setCookie.map(parseSetCookie);
    const [cleared] = (await browser.post('/logout')).setCookie.map(parseSetCookie);
    const { 'max-age': _age, ...attributes } = set!.attributes;
    expect(cleared!.name).toBe(set!.name);
    expect(cleared!.attributes).toEqual({
      ...attributes,
      'max-age': '0',
      expires: 'Thu, 01 Jan 1970 00:00:00 GMT',
    });
  });

  it('lets no cache keep an answer that sets or clears the cookie', async () => {
    const fresh = opened.browser(app);
    for (const answer of [await fresh.post('/login'), await fresh.post('/logout')]) {
      expect(answer.setCookie).toHaveLength(1);
      expect(answer.headers['cache-control']).toBe('no-store');
      expect(answer.headers.vary?.split(/,\s*/)).toContain('Cookie');
    }
    expect((await client.post('/private')).headers['cache-control']).toBe('private');
  });

  it('makes the browser forget more only where that is asked for', async () => {
    const headers = async (path: string) =>
      (await (await loggedIn()).post(path)).headers['clear-site-data'];
    expect(await headers('/clean')).toBe('"cache", "cookies", "storage"');
    expect(await headers('/clean-some')).toBe('"cache", "executionContexts"');
    expect(await headers('/clean-none')).toBeUndefined();
    expect(await headers('/logout')).toBeUndefined();
    // Of who has no session, too: what is left in the browser may be of one that has ended.
    expect((await opened.browser(app).post('/clean')).headers['clear-site-data']).toBeDefined();
    expect((await client.post('/not-now')).headers['clear-site-data']).toBeUndefined();
  });

  it.each<[string, unknown]>([
    ['an empty list', []],
    ['a kind that no browser knows', ['cookie']],
    ['a quoted one', ['"cookies"']],
    ['a text', 'cookies'],
    ['null', null],
  ])('refuses at once what clearSiteData cannot be: %s', (_, clearSiteData) => {
    expect(() => Logout({ clearSiteData } as LogoutOptions)).toThrow(
      new TypeError(
        '@Logout: clearSiteData must be a boolean, or a list of cache, cookies, storage, executionContexts that is not empty',
      ),
    );
  });

  it('ends the sessions that the route goes by, and no others', async () => {
    const two = opened.add(
      await start(
        {},
        { controllers: [Door, AdminDoor], imports: [SessionModule.forFeature('admin')] },
      ),
    );
    const browser = await loggedIn(two);
    await browser.post('/admin/login');
    const answer = await browser.post('/admin/logout');
    expect(answer.setCookie.map((line) => parseSetCookie(line).name)).toEqual([
      '__Host-session-admin',
    ]);
    expect((await browser.get('/admin/me')).status).toBe(401);
    expect((await browser.get('/me')).status).toBe(200);
  });

  it('goes with header transports', async () => {
    const other = opened.add(await start({ transport: 'x-auth-token' }));
    const browser = opened.browser(other);
    const token = (await browser.post('/login')).headers['x-auth-token'] as string;
    const headers = { 'x-auth-token': token };
    expect((await browser.post('/logout', { headers })).headers['x-auth-token']).toBe('');
    expect((await browser.get('/me', { headers })).status).toBe(401);
  });

  it('goes behind guards for everything', async () => {
    const providers = [
      { provide: APP_GUARD, useExisting: SessionCsrfGuard },
      { provide: APP_GUARD, useExisting: SessionGuard },
    ];
    const other = opened.add(await start({}, { controllers: [Open, Door], providers }));
    const browser = opened.browser(other);
    const headers = { 'sec-fetch-site': 'same-origin' };
    await browser.post('/open/login', { headers });
    const forged = { headers: { 'sec-fetch-site': 'cross-site' } };
    expect((await browser.post('/logout', forged)).status).toBe(403);
    expect((await browser.get('/me')).status).toBe(200);
    expect((await browser.post('/logout', { headers })).status).toBe(204);
    expect((await browser.get('/me')).status).toBe(401);
  });

  it('says so where there is no session to end', async () => {
    expect((await client.post('/skipped')).json).toMatchObject({ code: 'SESSION_UNAVAILABLE' });
    expect((await client.get('/me')).status).toBe(200);
  });

  it.each(['reject', 'anonymous'] as const)(
    'is never answered as done while the store is down, and clears nothing (%s)',
    async (onStoreFailure) => {
      const gates = await RedisGates.start(server);
      const other = await start({ redis: gates.connection, onStoreFailure, logoutRetry: 0 });
      try {
        const browser = await loggedIn(other);
        gates.cut(/./);
        for (const path of ['/logout', '/farewell', '/by-hand', '/clean']) {
          const answer = await browser.post(path);
          expect(answer.json).toMatchObject({ statusCode: 503, code: 'SESSION_STORE_UNAVAILABLE' });
          expect(answer.setCookie).toEqual([]);
          expect(answer.headers['retry-after']).toBe('1');
          expect(answer.headers['clear-site-data']).toBeUndefined();
          expect(answer.headers.location).toBeUndefined();
        }
        gates.release();
        const back = await until('the session is there again', async () => {
          const answer = await browser.get('/me');
          return answer.status === 200 && answer;
        });
        expect(back.json).toEqual({ principal: 'alice' });
        expect((await browser.post('/logout')).status).toBe(204);
        expect((await browser.get('/me')).status).toBe(401);
      } finally {
        gates.release();
        await other.close();
        await gates.stop();
      }
    },
  );
});
