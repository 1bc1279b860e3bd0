import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, HttpCode, Param, Post, Req } from '@nestjs/common';
import {
  Accounts,
  OnStoreFailure,
  RequireSession,
  Session,
  SessionService,
  type SessionAccounts,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { ADAPTERS, SECRET, until, type TestApp } from '../support/app.js';
import type { Answer, HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';
import { atMost } from '../support/fault-record.js';

interface ExpressSession {
  regenerate(done: (error?: unknown) => void): void;
}

class Routes {
  constructor(readonly sessions: SessionService) {}

  @Get('read') read(@Session() session: Session) {
    return { n: session.get('n') ?? null, outage: session.outage ?? null };
  }

  @Post('write') @HttpCode(200) write(@Session() session: Session) {
    return { n: session.increment('n') };
  }

  @Post('save') async save(@Session() session: Session) {
    session.increment('n');
    await session.save();
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal };
  }

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('alice');
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @Post('logout-by-service') @HttpCode(204) async logoutByService() {
    await this.sessions.current()?.destroy();
  }

  @Post('elevate') @HttpCode(200) async elevate(@Session() session: Session) {
    await session.elevate('otp');
  }

  @Post('regenerate') @HttpCode(200) async regenerate(@Session() session: Session) {
    await session.regenerate();
  }

  @Post('act') @HttpCode(200) async act(@Session() session: Session) {
    await session.switchPrincipal('bob');
  }

  /** As passport's `logout` does it. */
  @Post('start-over') @HttpCode(200) async startOver(@Req() request: { session: ExpressSession }) {
    await new Promise<void>((resolve, reject) => {
      request.session.regenerate((error) => (error ? reject(error as Error) : resolve()));
    });
  }

  @Get('by-service') async byService() {
    const session = await this.sessions.current()?.load();
    return { n: session?.get('n') ?? null };
  }
}

@Controller()
class AsTheModuleSays extends Routes {
  constructor(sessions: SessionService) {
    super(sessions);
  }
}

@OnStoreFailure('anonymous')
@Controller('open')
class Open extends Routes {
  constructor(sessions: SessionService) {
    super(sessions);
  }

  @OnStoreFailure('reject') @Get('strict') strict(@Session('n') n: unknown) {
    return { n };
  }
}

@OnStoreFailure('stale')
@Controller('stale')
class Stale extends Routes {
  constructor(sessions: SessionService) {
    super(sessions);
  }
}

@OnStoreFailure('anonymous')
@Controller('accounts')
class AccountsOfABrowser {
  @Get() list(@Accounts() accounts: SessionAccounts) {
    return accounts.list();
  }

  @Post('add') @HttpCode(200) async add(@Accounts() accounts: SessionAccounts) {
    await accounts.add();
  }

  @Post('switch/:handle') @HttpCode(200) async switch(
    @Accounts() accounts: SessionAccounts,
    @Param('handle') handle: string,
  ) {
    return { found: (await accounts.switch(handle)) !== undefined };
  }

  @Post('remove/:handle') @HttpCode(200) async remove(
    @Accounts() accounts: SessionAccounts,
    @Param('handle') handle: string,
  ) {
    return { removed: await accounts.remove(handle) };
  }
}

const controllers = [AsTheModuleSays, Open, Stale, AccountsOfABrowser];

describe.each(ADAPTERS)(
  'what becomes of requests while the store does not answer, on %s',
  (adapter) => {
    const opened = new Opened();
    let server: RedisServer;
    let app: TestApp;

    beforeEach(async () => {
      server = await RedisServer.start(['--appendonly', 'yes', '--appendfsync', 'always']);
    });

    afterEach(async () => {
      await opened.close();
      await server.stop();
    });

    const boot = async (more: SessionModuleOptions = {}) => {
      const session = { redis: server.url, secret: SECRET, cookie: { secure: false }, ...more };
      app = await opened.app({ adapter, controllers, session });
    };

    /** Somebody who is logged in, and has counted to 1. */
    const user = async (): Promise<HttpClient> => {
      const browser = opened.browser(app);
      await browser.post('/login');
      expect((await browser.post('/write')).json).toEqual({ n: 1 });
      return browser;
    };

    const expectRefused = (answer: Answer) => {
      expect(answer.json).toMatchObject({ statusCode: 503, code: 'SESSION_STORE_UNAVAILABLE' });
      expect(answer.headers['retry-after']).toBe('1');
      expect(answer.setCookie).toEqual([]);
    };

    const expectServed = (answer: Answer, json: unknown) => {
      expect({ status: answer.status, json: answer.json }).toEqual({ status: 200, json });
      expect(answer.setCookie).toEqual([]);
      expect(answer.headers['retry-after']).toBeUndefined();
    };

    /** `SessionService` of the application. */
    const counters = () => app.app.get(SessionService).counters();

    const recovered = async (browser: HttpClient) => {
      await server.run();
      const isBack = async () => (await browser.get('/read')).json.outage === null;
      await until('it works again', isBack);
    };

    /** What the policy is, on routes below a path. */
    const expectAnonymous = async (browser: HttpClient, path: string) => {
      const before = new Map(browser.jar);
      const stranger = opened.browser(app);
      expectServed(await browser.get(`${path}/read`), { n: null, outage: 'anonymous' });
      expectServed(await browser.get(`${path}/by-service`), { n: null });
      expectServed(await browser.post(`${path}/write`), { n: 1 });
      expectServed(await stranger.get(`${path}/read`), { n: null, outage: null });
      expectServed(await stranger.post(`${path}/write`), { n: 1 });
      // What somebody relies on is not given up in silence.
      for (const one of [browser, stranger]) {
        expectRefused(await one.post(`${path}/save`));
        expectRefused(await one.post(`${path}/login`));
      }
      for (const way of ['elevate', 'regenerate', 'act', 'logout']) {
        expectRefused(await browser.post(`${path}/${way}`));
      }
      // That nobody is logged in is not known.
      expectRefused(await browser.get(`${path}/me`));
      expect((await stranger.get(`${path}/me`)).json).toMatchObject({ code: 'SESSION_REQUIRED' });
      expect(browser.jar).toEqual(before);
      expect(stranger.jar.size).toBe(0);
    };

    it("'anonymous' for the module: on without a session, and nothing is written or promised", async () => {
      await boot({ onStoreFailure: 'anonymous' });
      const browser = await user();
      await server.kill();
      await expectAnonymous(browser, '');
      expect(counters().wentOnAnonymous).toBeGreaterThan(0);

      await recovered(browser);
      expectServed(await browser.get('/read'), { n: 1, outage: null });
      expectServed(await browser.get('/me'), { principal: 'alice' });
    });

    it("'anonymous' where sessions are loaded before the route is known", async () => {
      await boot({ onStoreFailure: 'anonymous', loading: 'eager' });
      const browser = await user();
      await server.kill();
      await expectAnonymous(browser, '');
      expectServed(await browser.get('/open/strict'), {});
      await recovered(browser);
      expectServed(await browser.get('/read'), { n: 1, outage: null });
    });

    it("'anonymous' for some routes only", async () => {
      await boot();
      const browser = await user();
      await server.kill();
      await expectAnonymous(browser, '/open');
      expectRefused(await browser.get('/open/strict'));
      expectRefused(await browser.get('/read'));
      expectRefused(await opened.browser(app).post('/write'));
      await recovered(browser);
      expectServed(await browser.get('/open/read'), { n: 1, outage: null });
      expectServed(await browser.get('/open/strict'), { n: 1 });
    });

    it("'stale': as this node saw it lately, and not to be changed", async () => {
      await boot({ onStoreFailure: 'stale', staleFor: '2s' });
      const browser = await user();
      const gone = await user();
      await gone.post('/logout');
      gone.jar.set('session', browser.jar.get('session') as string);
      await server.kill();
      const since = performance.now();

      expectServed(await browser.get('/read'), { n: 1, outage: 'stale' });
      expectServed(await browser.get('/me'), { principal: 'alice' });
      expectServed(await browser.get('/by-service'), { n: 1 });
      expectRefused(await browser.post('/write'));
      expectRefused(await browser.post('/save'));
      expectRefused(await browser.post('/login'));
      expectServed(await browser.get('/read'), { n: 1, outage: 'stale' });
      expect(counters().servedStale).toBeGreaterThan(0);
      // A logout holds here at once, and elsewhere when it is confirmed.
      expectRefused(await browser.post('/logout'));
      expectRefused(await browser.get('/me'));
      expect(performance.now() - since).toBeLessThan(atMost(2_000));
    });

    it("'stale' for no longer than it says, and never what was ended here", async () => {
      await boot({ staleFor: '1s' });
      const browser = await user();
      const ended = await user();
      const token = ended.jar.get('session') as string;
      await ended.post('/logout');
      ended.jar.set('session', token);
      await server.kill();
      expectServed(await browser.get('/stale/me'), { principal: 'alice' });
      expectRefused(await ended.get('/stale/me'));
      expectRefused(await browser.get('/me'));
      await new Promise((resolve) => setTimeout(resolve, 1_100));
      expectRefused(await browser.get('/stale/me'));
    });

    it("'stale' on a node that keeps nothing for an outage is refused", async () => {
      await boot();
      const browser = await user();
      await server.kill();
      expectRefused(await browser.get('/stale/read'));
    });

    it('a logout that was not confirmed is tried again until it is', async () => {
      await boot({ onStoreFailure: 'anonymous' });
      const [one, two, other] = [await user(), await user(), await user()];
      await server.kill();
      const refused = await one.post('/open/logout');
      expectRefused(refused);
      expect(refused.json.message).toMatch(/not confirmed, and is tried again/);
      expectRefused(await two.post('/logout-by-service'));
      expect(counters()).toMatchObject({ logoutsPending: 2, logoutsConfirmedLate: 0 });

      await recovered(other);
      await until('it is confirmed', async () => counters().logoutsConfirmedLate === 2);
      expect(counters()).toMatchObject({ logoutsPending: 0, logoutsGivenUp: 0 });
      for (const gone of [one, two]) expect((await gone.get('/me')).status).toBe(401);
      expect((await other.get('/me')).status).toBe(200);
    });

    it('a logout that is tried again ends no later login', async () => {
      await boot({ onStoreFailure: 'anonymous' });
      const browser = await user();
      await server.kill();
      expectRefused(await browser.post('/logout'));
      await server.run();
      // In the same browser, before it is tried again.
      const again = async () => (await browser.post('/login')).status === 200;
      await until('somebody logs in', again);
      await until('it is tried again', async () => counters().logoutsPending === 0);
      expect((await browser.get('/me')).json).toEqual({ principal: 'alice' });
    });

    it('to leave everything behind is a logout, too', async () => {
      await boot({ onStoreFailure: 'anonymous', loading: 'eager' });
      const [browser, other] = [await user(), await user()];
      await server.kill();
      expectRefused(await browser.post('/start-over'));
      await recovered(other);
      await until('it is confirmed', async () => counters().logoutsConfirmedLate === 1);
      expect((await browser.get('/me')).status).toBe(401);
    });

    it('a logout is given up after its time, and when the application ends: told once', async () => {
      await boot({ logoutRetry: '300ms' });
      const browser = await user();
      await server.kill();
      expectRefused(await browser.post('/open/logout'));
      await until('it is given up', async () => counters().logoutsGivenUp === 1);
      expectRefused(await browser.post('/logout-by-service'));
      await opened.close();
      const told = app.logger.texts('warn').filter((line) => line.startsWith('Logouts'));
      expect(told).toHaveLength(1);
      expect(counters().logoutsGivenUp).toBe(2);
      expect(told[0]).toMatch(/could not be confirmed: sessions [\w-]+, [\w-]+ end by time/);
      await server.run();
    });

    it.each(['anonymous', 'stale', 'reject'] as const)(
      "accounts of a browser are left as they are, under '%s'",
      async (onStoreFailure) => {
        await boot({ onStoreFailure, accounts: 3 });
        const browser = await user();
        expect((await browser.post('/accounts/add')).status).toBe(200);
        await browser.post('/login');
        const listed = (await browser.get('/accounts')).json as unknown as { handle: string }[];
        const [current, parked] = listed.map(({ handle }) => handle);
        const before = new Map(browser.jar);
        await server.kill();
        const ways = ['add', `switch/${parked}`, `switch/${current}`, `remove/${parked}`];
        expectRefused(await browser.get('/accounts'));
        for (const way of ways) expectRefused(await browser.post(`/accounts/${way}`));
        expect(browser.jar).toEqual(before);

        await recovered(browser);
        const after = (await browser.get('/accounts')).json as unknown as { handle: string }[];
        expect(after.map(({ handle }) => handle)).toEqual([current, parked]);
      },
    );

    it('the breaker cuts off a store that does not answer: requests are answered at once', async () => {
      await boot();
      const browser = await user();
      server.signal('SIGSTOP');
      const times: number[] = [];
      const ask = async () => {
        const since = performance.now();
        expectRefused(await browser.another(browser.jar).get('/read'));
        times.push(performance.now() - since);
      };
      await Promise.all(Array.from({ length: 10 }, ask));
      expect(counters().breakerOpened).toBe(1);
      times.length = 0;
      for (let i = 0; i < 100; i++) await ask();
      const quick = times.filter((ms) => ms < 100).length;
      expect(quick).toBeGreaterThanOrEqual(90);
      const slow = app.logger.texts('warn').filter((line) => line.includes('does not answer'));
      expect(slow).toHaveLength(1);

      server.signal('SIGCONT');
      await until('it works again', async () => (await browser.get('/read')).status === 200);
      expect(app.logger.texts('log').join('\n')).toContain('The session store answers again.');
      expectServed(await browser.get('/read'), { n: 1, outage: null });
    });

    it('a store that answers, if only to refuse, is not cut off', async () => {
      await boot();
      const browser = await user();
      const admin = server.connect();
      await admin.config('SET', 'maxmemory', '1');
      for (let i = 0; i < 20; i++) expectRefused(await browser.post('/write'));
      expect(counters()).toMatchObject({ breakerOpened: 0, storeFailures: 20 });
      expectServed(await browser.get('/read'), { n: 1, outage: null });
      admin.disconnect();
    });

    it('what was answered 503 because it took too long does not take effect later', async () => {
      await boot();
      const browser = await user();
      const other = await user();
      server.signal('SIGSTOP');
      const all = await Promise.all([
        browser.another(browser.jar).post('/write'),
        browser.another(browser.jar).post('/save'),
        browser.another().post('/login'),
      ]);
      all.forEach(expectRefused);
      server.signal('SIGCONT');
      await until('it works again', async () => (await other.get('/read')).status === 200);
      expectServed(await browser.get('/read'), { n: 1, outage: null });
      expect(await app.app.get(SessionService).forPrincipal('alice').count()).toBe(2);
    });
  },
);

it('says at once which policy is none', () => {
  expect(() => OnStoreFailure('ignore' as never)).toThrow(/use one of reject, anonymous, stale/);
});
