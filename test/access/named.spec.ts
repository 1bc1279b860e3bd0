import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  Body,
  Controller,
  Get,
  HttpCode,
  Injectable,
  Module,
  ParseIntPipe,
  Post,
  type DynamicModule,
} from '@nestjs/common';
import {
  Accounts,
  InjectSessionService,
  MemorySessionStore,
  PassiveSession,
  Principal,
  RequireFactor,
  RequireRole,
  RequireSession,
  Session,
  SessionId,
  SessionModule,
  SessionService,
  UseSession,
  getSessionServiceToken,
  type AuthenticateOptions,
  type SessionAccount,
  type SessionAccounts,
  type SessionFeatureOptions,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import {
  ADAPTERS,
  NEAR_CACHE,
  SECRET,
  until,
  type TestApp,
  type TestAppOptions,
} from '../support/app.js';
import { type HttpClient, parseSetCookie, type Answer } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { WatchedStore } from '../support/session-world.js';

const MAIN = '__Host-session';
const ADMIN = '__Host-session-admin';
const PARKED = '__Host-session-accounts';

type Login = AuthenticateOptions & { name: string };

/** Sessions of customers, and of the administration beside them. */
@Controller()
class Shop {
  constructor(
    private readonly sessions: SessionService,
    @InjectSessionService('admin') private readonly admins: SessionService,
  ) {}

  @Get('me') me(@Session() session: Session) {
    return { principal: session.principal, data: session.data };
  }

  @Post('set') @HttpCode(200) set(@Session() session: Session, @Body() body: object) {
    for (const [key, value] of Object.entries(body)) session.set(key, value as unknown);
  }

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name, ...options }: Login,
  ) {
    await session.authenticate(name, options);
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @RequireSession() @Get('closed') closed() {
    return {};
  }

  @Post('both') @HttpCode(200) async both(
    @Session() session: Session,
    @Session.of('admin') admin: Session,
    @Body() { size }: { size: number },
  ) {
    await session.authenticate('alice');
    await admin.authenticate('root');
    admin.set('text', 'x'.repeat(size));
  }

  @Get('both') seeBoth(
    @Principal() principal: string,
    @Session.of('admin') admin: Session,
    @Session.of('admin', 'theme') theme: unknown,
  ) {
    return { principal, admin: admin.principal, theme };
  }

  @Get('number') number(@Session.of('admin', 'count', ParseIntPipe) count: number) {
    return { count };
  }

  @Get('neither') neither() {
    return { main: typeof this.sessions.current(), admin: typeof this.admins.current() };
  }

  @Get('services') async services() {
    const [main, admin] = [this.sessions.current(), this.admins.current()];
    await Promise.all([main?.load(), admin?.load()]);
    return { main: main?.principal, admin: admin?.principal, same: main === admin };
  }

  @Get('unknown') unknown(@Session.of('nobody') session: Session) {
    return { session };
  }

  @UseSession('nobody') @RequireSession() @Get('unknown-closed') unknownClosed() {
    return {};
  }
}

@UseSession('admin')
@Controller('admin')
class Administration {
  constructor(@InjectSessionService('admin') private readonly admins: SessionService) {}

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name, ...options }: Login,
  ) {
    await session.authenticate(name, options);
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @Post('set') @HttpCode(200) set(@Session() session: Session, @Body() body: object) {
    for (const [key, value] of Object.entries(body)) session.set(key, value as unknown);
  }

  @Get('me') me(@Session() session: Session, @SessionId() id: string, @Principal() who?: string) {
    return { principal: who, data: session.data, same: id === session.id };
  }

  @RequireSession() @Get('closed') closed() {
    return {};
  }

  @PassiveSession() @RequireSession() @Get('passive') passive() {
    return {};
  }

  @RequireRole('root') @RequireFactor('otp') @Get('root') root() {
    return {};
  }

  @RequireSession() @Get('devices') devices(@Session() session: Session) {
    return this.admins.forPrincipal(session.principal as string).list();
  }

  /** The word of a method wins over that of its class. */
  @UseSession('staff') @Get('staff') staff(@Session() session: Session) {
    return { principal: session.principal };
  }
}

@Injectable()
class Settings {
  readonly prefix = 'from-settings';
}

@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

const cookiesIn = (answer: Answer) =>
  Object.fromEntries(answer.setCookie.map(parseSetCookie).map((cookie) => [cookie.name, cookie]));

describe.each(ADAPTERS)('sessions on %s', (adapter) => {
  let clock: FakeClock;
  const opened = new Opened();

  const start = async (options: Partial<TestAppOptions> = {}): Promise<TestApp> => {
    const { session, ...others } = options;
    return opened.app({
      adapter,
      session: { store: 'memory', clock, ...session },
      ...others,
    });
  };
  const browse = (app: TestApp): HttpClient => {
    return opened.browser(app);
  };

  beforeEach(() => {
    clock = new FakeClock();
  });

  afterEach(opened.close);

  describe('of another name', () => {
    const controllers = [Shop, Administration];
    const withAdmin = (
      admin: SessionFeatureOptions = {},
      session: SessionModuleOptions = {},
      imports: DynamicModule[] = [],
    ) =>
      start({
        controllers,
        imports: [
          SessionModule.forFeature('admin', admin),
          SessionModule.forFeature('staff'),
          ...imports,
        ],
        session,
      });
    const login = async (client: HttpClient, path = '/login', options: Partial<Login> = {}) => {
      const answer = await client.post(path, { json: { name: 'alice', ...options } });
      expect(answer.status).toBe(200);
      return answer;
    };
    const adminLogin = (client: HttpClient, options: Partial<Login> = {}) =>
      login(client, '/admin/login', { name: 'root', ...options });
    const statusesOf = async (client: HttpClient, ...paths: string[]) => {
      const statuses: number[] = [];
      for (const path of paths) statuses.push((await client.get(path)).status);
      return statuses;
    };

    it('have a cookie of their own, and one of both is nothing to the other', async () => {
      const client = browse(await withAdmin());
      expect(await statusesOf(client, '/closed', '/admin/closed')).toEqual([401, 401]);
      await login(client);
      expect([...client.jar.keys()]).toEqual([MAIN]);
      expect(await statusesOf(client, '/closed', '/admin/closed')).toEqual([200, 401]);
      await adminLogin(client);
      expect([...client.jar.keys()]).toEqual([MAIN, ADMIN]);
      expect(await statusesOf(client, '/closed', '/admin/closed')).toEqual([200, 200]);
      await client.post('/set', { json: { theme: 'light' } });
      await client.post('/admin/set', { json: { theme: 'dark' } });
      expect((await client.get('/me')).json).toEqual({
        principal: 'alice',
        data: { theme: 'light' },
      });
      expect((await client.get('/admin/me')).json).toEqual({
        principal: 'root',
        data: { theme: 'dark' },
        same: true,
      });
    });

    it.each<[string, SessionModuleOptions]>([
      ['signed', { secret: SECRET }],
      ['unsigned', {}],
    ])('%s, are opened by no token of others', async (_, options) => {
      const client = browse(await withAdmin({}, options));
      await login(client, '/login', { name: 'root', roles: ['root'] });
      await adminLogin(client);
      const [main, admin] = [client.jar.get(MAIN)!, client.jar.get(ADMIN)!];
      const swapped = client.another([
        [MAIN, admin],
        [ADMIN, main],
      ]);
      expect(await statusesOf(swapped, '/closed', '/admin/closed')).toEqual([401, 401]);
      expect(await statusesOf(client, '/closed', '/admin/closed')).toEqual([200, 200]);
    });

    it('end apart: a logout, an idle timeout, all sessions of a principal', async () => {
      const app = await withAdmin({ idleTimeout: '10m', absoluteTimeout: '1h' });
      const client = browse(app);
      const both = () => statusesOf(client, '/closed', '/admin/closed');
      await login(client);
      await adminLogin(client);
      expect((await client.post('/admin/logout')).status).toBe(204);
      expect([...client.jar.keys()]).toEqual([MAIN]);
      expect(await both()).toEqual([200, 401]);

      await adminLogin(client);
      expect((await client.post('/logout')).status).toBe(204);
      expect(await both()).toEqual([401, 200]);

      await login(client);
      clock.advance('9m');
      await client.get('/me');
      clock.advance('2m');
      expect(await both()).toEqual([200, 401]);
      // A passive route extends neither.
      await adminLogin(client);
      clock.advance('9m');
      expect(await statusesOf(client, '/admin/passive')).toEqual([200]);
      clock.advance('1m');
      expect(await both()).toEqual([200, 401]);

      await adminLogin(client, { name: 'alice' });
      const admins = app.app.get<SessionService>(getSessionServiceToken('admin'));
      expect(await app.app.get(SessionService).forPrincipal('alice').revokeAll()).toBe(1);
      expect(await both()).toEqual([401, 200]);
      await login(client);
      expect(await admins.revokeAllPrincipals()).toBe(1);
      expect(await both()).toEqual([200, 401]);
    });

    it('are injected beside each other, by attribute and through pipes', async () => {
      const client = browse(await withAdmin());
      expect((await client.get('/both')).json).toEqual({});
      expect((await client.get('/number')).status).toBe(400);
      await login(client);
      await adminLogin(client);
      await client.post('/admin/set', { json: { theme: 'dark', count: '12' } });
      await client.post('/set', { json: { theme: 'light', count: '1' } });
      expect((await client.get('/both')).json).toEqual({
        principal: 'alice',
        admin: 'root',
        theme: 'dark',
      });
      expect((await client.get('/number')).json).toEqual({ count: 12 });
      expect((await client.get('/admin/staff')).json).toEqual({});
    });

    it('are told of in one answer where both change, and cached by nobody', async () => {
      const client = browse(await withAdmin());
      const answer = await client.post('/both', { json: { size: 10 } });
      expect(answer.status).toBe(200);
      expect(Object.keys(cookiesIn(answer))).toEqual([MAIN, ADMIN]);
      expect(answer.setCookie).toHaveLength(2);
      expect(answer.headers['cache-control']).toBe('no-store');
      expect(answer.headers.vary).toMatch(/\bcookie\b/i);
      expect(await statusesOf(client, '/closed', '/admin/closed')).toEqual([200, 200]);
    });

    it('are told of truly where only one of both could be stored', async () => {
      const client = browse(await withAdmin({ maxBytes: 1_000 }));
      const answer = await client.post('/both', { json: { size: 2_000 } });
      expect(answer.status).toBe(413);
      expect(answer.json).toMatchObject({ code: 'SESSION_TOO_LARGE' });
      expect(client.jar.has(ADMIN)).toBe(false);
      expect(await statusesOf(client, '/admin/closed')).toEqual([401]);
      const stored = client.jar.has(MAIN) ? 200 : 401;
      expect(await statusesOf(client, '/closed')).toEqual([stored]);
    });

    it('are those of their service, in requests and outside', async () => {
      const app = await withAdmin();
      const client = browse(app);
      await login(client);
      await adminLogin(client);
      expect((await client.get('/services')).json).toEqual({
        main: 'alice',
        admin: 'root',
        same: false,
      });
      expect((await client.get('/neither')).json).toEqual({ main: 'object', admin: 'object' });
      expect((await client.get('/admin/devices')).json).toEqual([
        expect.objectContaining({ principal: 'root', current: true }),
      ]);
      const sessions = app.app.get(SessionService);
      const admins = app.app.get<SessionService>(getSessionServiceToken('admin'));
      expect(await sessions.count()).toBe(1);
      expect(await admins.count()).toBe(1);
      const [ofRoot] = await admins.forPrincipal('root').list();
      expect(await sessions.forPrincipal('root').list()).toEqual([]);
      expect(await sessions.find(ofRoot!.handle)).toBeUndefined();
      expect(await sessions.revoke(ofRoot!.handle)).toBe(false);
      expect((await admins.find(ofRoot!.handle))?.principal).toBe('root');
      expect(await admins.revoke(ofRoot!.handle)).toBe(true);
      expect(await statusesOf(client, '/closed', '/admin/closed')).toEqual([200, 401]);
    });

    it('are what guards and decorators of their routes judge', async () => {
      const client = browse(await withAdmin());
      await login(client, '/login', { roles: ['root'], factors: ['otp'] });
      expect((await client.get('/admin/root')).json).toMatchObject({ code: 'SESSION_REQUIRED' });
      await adminLogin(client);
      expect((await client.get('/admin/root')).json).toMatchObject({ code: 'SESSION_FORBIDDEN' });
      await adminLogin(client, { roles: ['root'] });
      expect((await client.get('/admin/root')).headers['www-authenticate']).toBe(
        'Session error="insufficient_user_authentication", factor="otp"',
      );
      await adminLogin(client, { roles: ['root'], factors: ['otp'] });
      expect(await statusesOf(client, '/admin/root')).toEqual([200]);
    });

    it('are asked about by the policy of forRoot, or by their own', async () => {
      const policy = (session: Session) => session.principal !== 'mallory';
      const own = (session: Session) => session.principal === 'root';
      const inheriting = browse(await withAdmin({}, { policy }));
      await login(inheriting, '/login', { name: 'mallory' });
      await adminLogin(inheriting, { name: 'mallory' });
      expect(await statusesOf(inheriting, '/closed', '/admin/closed')).toEqual([403, 403]);
      const apart = browse(await withAdmin({ policy: own }, { policy }));
      await login(apart);
      await adminLogin(apart, { name: 'alice' });
      expect(await statusesOf(apart, '/closed', '/admin/closed')).toEqual([200, 403]);
    });

    it('that nobody has made are an error that is logged, not an open door', async () => {
      const app = await withAdmin();
      const client = browse(app);
      await login(client);
      for (const path of ['/unknown', '/unknown-closed']) {
        expect(await client.get(path)).toMatchObject({
          status: 500,
          json: { code: 'SESSION_UNAVAILABLE' },
        });
      }
      expect(app.logger.texts('error').join()).toContain("SessionModule.forFeature('nobody'");
    });

    it('take over the options of forRoot, but for those of their own', async () => {
      const session: SessionModuleOptions = {
        secret: SECRET,
        idleTimeout: '20m',
        maxSessions: 1,
        onLimit: 'reject',
        maxBytes: 1_000,
        cookie: { sameSite: 'strict', persistent: true, name: 'sid', secure: true },
      };
      const app = await withAdmin({ maxSessions: 2, cookie: { priority: 'high' } }, session);
      const [one, two, three] = [browse(app), browse(app), browse(app)];
      const { 'sid-admin': cookie } = cookiesIn(await adminLogin(one));
      expect(cookie?.attributes).toMatchObject({
        path: '/',
        httponly: '',
        secure: '',
        samesite: 'Strict',
        priority: 'High',
        'max-age': '86400',
      });
      expect(cookie?.value).toMatch(/^[\w-]{44}\.[\w-]{43}$/);
      await adminLogin(two);
      const refused = await three.post('/admin/login', { json: { name: 'root' } });
      expect(refused.json).toMatchObject({ code: 'SESSION_LIMIT_REACHED' });
      await login(one);
      expect((await three.post('/login', { json: { name: 'alice' } })).status).toBe(409);
      const large = await one.post('/admin/set', { json: { text: 'x'.repeat(2_000) } });
      expect(large.json).toMatchObject({ code: 'SESSION_TOO_LARGE' });
      clock.advance('20m');
      expect(await statusesOf(one, '/closed', '/admin/closed')).toEqual([401, 401]);
    });

    it.each<[string, SessionFeatureOptions, SessionModuleOptions, string, object]>([
      ['a path', { cookie: { path: '/admin' } }, {}, 'session-admin', { path: '/admin' }],
      ['a domain', { cookie: { domain: 'example.com' } }, {}, 'session-admin', { path: '/' }],
      ['no encryption', { cookie: { secure: false } }, {}, 'session-admin', { path: '/' }],
      ['a name', { cookie: { name: 'a' } }, {}, 'a', { secure: '' }],
      ['nothing', {}, { cookie: { path: '/x' } }, 'session-admin', { path: '/x' }],
    ])('have a cookie name that browsers accept: %s of their own', async (_, ...given) => {
      const [admin, session, name, attributes] = given;
      const answer = await adminLogin(browse(await withAdmin(admin, session)));
      expect(Object.keys(cookiesIn(answer))).toEqual([name]);
      expect(cookiesIn(answer)[name]?.attributes).toMatchObject(attributes);
    });

    it('say at boot what is in force for them', async () => {
      const { logger } = await withAdmin({ idleTimeout: '10m', maxSessions: 3 });
      const told = logger.texts('log').filter((line) => line.includes('idle'));
      expect(told.filter((line) => line.includes('admin'))).toEqual([
        expect.stringMatching(
          /10m idle.*at most 3 for each principal.*cookie __Host-session-admin/,
        ),
      ]);
      expect(told.filter((line) => line.includes('staff'))).toHaveLength(1);
      expect(told).toHaveLength(3);
    });

    it('can be made by a factory', async () => {
      const app = await start({
        controllers,
        imports: [
          SessionModule.forFeatureAsync('admin', {
            imports: [SettingsModule],
            inject: [Settings],
            useFactory: async ({ prefix }: Settings) => {
              await Promise.resolve();
              return { cookie: { name: prefix } };
            },
          }),
        ],
      });
      const client = browse(app);
      await adminLogin(client);
      expect([...client.jar.keys()]).toEqual(['from-settings']);
      expect(await statusesOf(client, '/admin/closed')).toEqual([200]);
    });

    describe('do not boot', () => {
      const boot = (imports: DynamicModule[], session: SessionModuleOptions = {}) =>
        start({ imports, session });
      const feature = SessionModule.forFeature.bind(SessionModule);
      const refused = async (booting: Promise<unknown>, ...told: string[]) => {
        await expect(booting).rejects.toMatchObject({ code: 'SESSION_OPTIONS_INVALID' });
        for (const text of told) await expect(booting).rejects.toThrow(text);
      };

      it('twice under one name', async () => {
        const cookie = { name: 'other' };
        const imports = [feature('admin'), feature('admin', { cookie })];
        await refused(boot(imports), "forFeature('admin')", 'more than once');
      });

      it('with the cookie of others', async () => {
        await refused(boot([feature('admin', { cookie: { name: MAIN } })]), MAIN);
        const cookie = { name: 'sid' };
        await refused(boot([feature('a', { cookie }), feature('b', { cookie })]), 'cookie sid');
      });

      it('with the cookie in which others keep parked accounts', async () => {
        await refused(boot([feature('accounts')], { accounts: 3 }), PARKED);
        const cookie = { name: 'sid' };
        const imports = [
          feature('a', { cookie, accounts: 2 }),
          feature('b', { cookie: { name: 'sid-accounts' } }),
        ];
        await refused(boot(imports), 'sid-accounts');
      });

      it('with a header that others use', async () => {
        await refused(boot([feature('admin')], { transport: 'x-auth-token' }), 'x-auth-token');
        await refused(
          boot([feature('admin', { transport: ['cookie', 'authorization'] })], {
            transport: ['authorization', 'cookie'],
          }),
          'authorization',
        );
        const own = { read: () => [], write: () => undefined, clear: () => undefined };
        await refused(boot([feature('admin', { transport: own })], { transport: own }));
      });

      it('in a store of the application that others use', async () => {
        const store = new WatchedStore(new MemorySessionStore(clock));
        await refused(boot([feature('admin')], { store }), 'of its own');
      });

      it('with options that are wrong', async () => {
        await refused(boot([feature('admin', { idleTimeout: 'soon' as never })]), 'idleTimeout');
        await refused(boot([feature('admin', { idleTimeout: '48h' })]), 'absoluteTimeout');
        const unknown = { idletimeout: '1h' } as SessionFeatureOptions;
        await refused(boot([feature('admin', unknown)]), 'idletimeout');
      });

      it.each(['', '1st', 'with space', 'a:b', '{x}', 'ümlaut', 'x'.repeat(33), '../x'])(
        'under the name %p',
        (name) => {
          expect(() => feature(name)).toThrow(JSON.stringify(name));
          expect(() => feature(name)).toThrow(
            expect.objectContaining({ code: 'SESSION_OPTIONS_INVALID' }),
          );
        },
      );
    });

    it('may travel by a header that nobody else uses', async () => {
      const client = browse(await withAdmin({ transport: 'x-auth-token' }));
      await login(client);
      const { headers } = await adminLogin(client);
      const token = headers['x-auth-token'] as string;
      expect(await statusesOf(client, '/closed', '/admin/closed')).toEqual([200, 401]);
      const answer = await client.get('/admin/closed', { headers: { 'x-auth-token': token } });
      expect(answer.status).toBe(200);
    });

    describe('in Redis', () => {
      let redis: RedisUnderTest;
      let other: RedisUnderTest;
      let probe: RedisProbe;
      let otherProbe: RedisProbe;
      const connections = () => otherProbe.connections();

      beforeAll(async () => {
        const keyPrefixes = ['sess.admin', 'adm', 'p', 'p.admin'];
        redis = await startRedis({ keyPrefixes });
        other = await startRedis({ keyPrefixes });
        probe = await RedisProbe.start(redis);
        otherProbe = await RedisProbe.start(other);
      });

      beforeEach(async () => {
        await probe.flush();
        await otherProbe.flush();
      });

      afterAll(async () => {
        await probe.stop();
        await otherProbe.stop();
        await redis.stop();
        await other.stop();
      });

      it.each<[string, SessionFeatureOptions, SessionModuleOptions, string[]]>([
        ['a prefix made of both names', {}, {}, ['{sess.admin:', '{sess:']],
        ['a prefix that is told', { keyPrefix: 'adm' }, {}, ['{adm:', '{sess:']],
        ['that of forRoot before it', {}, { keyPrefix: 'p' }, ['{p.admin:', '{p:']],
      ])('are kept under %s', async (_, admin, session, prefixes) => {
        const options = { store: undefined, redis: redis.connection(), ...session };
        const client = browse(await withAdmin(admin, options));
        await login(client);
        await adminLogin(client);
        const keys = await probe.keys('*:s:*');
        const seen = keys.map((key) => String(/^[^:]+:/.exec(key)?.[0])).sort();
        expect(seen).toEqual(prefixes.toSorted());
        expect(await statusesOf(client, '/closed', '/admin/closed')).toEqual([200, 200]);
        // Also with the id of an other: its place is another one.
        const swapped = client.another([
          [MAIN, client.jar.get(ADMIN)!],
          [ADMIN, client.jar.get(MAIN)!],
        ]);
        expect(await statusesOf(swapped, '/closed', '/admin/closed')).toEqual([401, 401]);
      });

      it.each<[string, () => SessionModuleOptions]>([
        ['in another Redis', () => ({ store: undefined, redis: redis.connection() })],
        ['in memory', () => ({ store: 'memory' })],
        [
          'in a store of the application',
          () => ({ store: new WatchedStore(new MemorySessionStore(clock)) }),
        ],
      ])('may have a Redis of their own beside others %s, closed at the end', async (_, main) => {
        const before = await connections();
        const app = await start({
          controllers,
          imports: [SessionModule.forFeature('admin', { redis: other.connection() })],
          session: main(),
        });
        const client = browse(app);
        await login(client);
        await adminLogin(client);
        expect(await statusesOf(client, '/closed', '/admin/closed')).toEqual([200, 200]);
        expect((await otherProbe.liveRecords()).size).toBe(1);
        // Where copies are kept, which is taken over, another one hears of changes.
        const [own, ear] = [1, NEAR_CACHE && main().redis !== undefined ? 1 : 0];
        expect(await connections()).toBe(before + own + ear);
        await app.close();
        opened.drop(app);
        await until('it is closed', async () => (await connections()) === before);
      });

      it('are out of reach alone where only their own Redis is', async () => {
        const options = { store: undefined, redis: redis.connection() };
        const app = await start({
          controllers,
          imports: [SessionModule.forFeature('admin', { redis: other.connection() })],
          session: options,
        });
        const client = browse(app);
        await login(client);
        await adminLogin(client);
        await other.kill();
        try {
          expect(await statusesOf(client, '/closed', '/admin/closed')).toEqual([200, 503]);
          const answer = await client.get('/admin/closed');
          expect(answer.headers['retry-after']).toBe('1');
          expect(answer.setCookie).toEqual([]);
        } finally {
          await other.run();
        }
      });

      it('leave no connection behind where they do not boot', async () => {
        const before = await connections();
        const options = { redis: other.connection(), cookie: { name: MAIN } };
        await expect(withAdmin(options)).rejects.toMatchObject({ code: 'SESSION_OPTIONS_INVALID' });
        expect(await connections()).toBe(before);
      });
    });
  });

  describe('of several accounts', () => {
    @Controller()
    class Browsing {
      constructor(private readonly sessions: SessionService) {}

      @Get('me') me(@Session() session: Session) {
        return { principal: session.principal, roles: session.roles, data: session.data };
      }

      @Post('set') @HttpCode(200) set(@Session() session: Session, @Body() body: object) {
        for (const [key, value] of Object.entries(body)) session.set(key, value as unknown);
      }

      @Post('login') @HttpCode(200) async login(
        @Session() session: Session,
        @Body() { name, ...options }: Login,
      ) {
        await session.authenticate(name, options);
      }

      @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
        await session.destroy();
      }

      @Get('accounts') list(@Accounts() accounts: SessionAccounts) {
        return accounts.list();
      }

      @Post('accounts/add') @HttpCode(200) async add(@Accounts() accounts: SessionAccounts) {
        await accounts.add();
      }

      @Post('accounts/add-and-go-on') @HttpCode(200) async goOn(
        @Accounts() accounts: SessionAccounts,
        @Session() session: Session,
      ) {
        const next = await accounts.add();
        next.set('note', 'of the next');
        session.set('note', 'of the one before');
      }

      @Post('accounts/add-and-login') @HttpCode(200) async addAndLogin(
        @Accounts() accounts: SessionAccounts,
        @Body() { name }: Login,
      ) {
        const session = await accounts.add();
        await session.authenticate(name);
        return accounts.list();
      }

      @Post('accounts/switch') @HttpCode(200) async switch(
        @Accounts() accounts: SessionAccounts,
        @Body() { handle }: { handle: string },
      ) {
        const session = await accounts.switch(handle);
        const isInUse = session === this.sessions.current();
        return { done: session !== undefined && isInUse, principal: session?.principal };
      }

      @Post('accounts/remove') @HttpCode(200) async remove(
        @Accounts() accounts: SessionAccounts,
        @Body() { handle }: { handle: string },
      ) {
        return { done: await accounts.remove(handle) };
      }
    }

    let app: TestApp;

    const startWith = (session: SessionModuleOptions = {}) =>
      start({ controllers: [Browsing], session: { accounts: 3, ...session } });
    const sessionsIn = () => app.app.get(SessionService);
    const listIn = async (client: HttpClient) =>
      (await client.get('/accounts')).json as unknown as SessionAccount[];
    const namesIn = async (client: HttpClient) =>
      (await listIn(client)).map(({ principal, current }) => principal + (current ? '!' : ''));
    const handleIn = async (client: HttpClient, name: string) =>
      (await listIn(client)).find(({ principal }) => principal === name)?.handle as string;
    const login = async (client: HttpClient, name: string, options: AuthenticateOptions = {}) => {
      const answer = await client.post('/login', { json: { name, ...options } });
      expect(answer.status).toBe(200);
      return answer;
    };
    /** A browser that is logged in with these accounts, the last one in use. */
    const withAccounts = async (...names: string[]) => {
      const client = browse(app);
      for (const [i, name] of names.entries()) {
        if (i > 0) expect((await client.post('/accounts/add')).status).toBe(200);
        await login(client, name);
        await client.post('/set', { json: { cart: name } });
      }
      return client;
    };
    const me = async (client: HttpClient) => (await client.get('/me')).json;

    beforeEach(async () => {
      app = await startWith();
    });

    it('are one in use, and the others parked with all that they have', async () => {
      const client = await withAccounts('alice');
      expect(await namesIn(client)).toEqual(['alice!']);
      expect([...client.jar.keys()]).toEqual([MAIN]);
      await client.post('/accounts/add');
      expect([...client.jar.keys()]).toEqual([PARKED]);
      expect(await me(client)).toEqual({ roles: [], data: {} });
      expect(await namesIn(client)).toEqual(['alice']);
      await login(client, 'bob', { label: "bob's" });
      expect(await me(client)).toEqual({ principal: 'bob', roles: [], data: {} });
      expect(await listIn(client)).toEqual([
        {
          handle: expect.any(String),
          principal: 'bob',
          label: "bob's",
          expiresAt: expect.any(Number),
          current: true,
        },
        {
          handle: expect.any(String),
          principal: 'alice',
          expiresAt: expect.any(Number),
          current: false,
        },
      ]);
      expect(await sessionsIn().count()).toBe(2);
    });

    it('are switched between, each as it was', async () => {
      const client = await withAccounts('alice', 'bob', 'carol');
      expect(await namesIn(client)).toEqual(['carol!', 'alice', 'bob']);
      const handle = await handleIn(client, 'alice');
      const answer = await client.post('/accounts/switch', { json: { handle } });
      expect(answer.json).toEqual({ done: true, principal: 'alice' });
      expect(Object.keys(cookiesIn(answer)).sort()).toEqual([MAIN, PARKED]);
      expect(answer.headers['cache-control']).toBe('no-store');
      expect(await me(client)).toMatchObject({ principal: 'alice', data: { cart: 'alice' } });
      expect((await namesIn(client)).sort()).toEqual(['alice!', 'bob', 'carol']);
      await client.post('/accounts/switch', { json: { handle: await handleIn(client, 'carol') } });
      expect(await me(client)).toMatchObject({ principal: 'carol', data: { cart: 'carol' } });
      expect(await sessionsIn().count()).toBe(3);
    });

    it('stay as they are when switched to the one in use', async () => {
      const client = await withAccounts('alice', 'bob');
      const jar = new Map(client.jar);
      const handle = await handleIn(client, 'bob');
      const answer = await client.post('/accounts/switch', { json: { handle } });
      expect(answer).toMatchObject({ json: { done: true, principal: 'bob' }, setCookie: [] });
      expect(client.jar).toEqual(jar);
    });

    it('are those of this browser only: a handle of another one opens and ends nothing', async () => {
      const [client, other] = [await withAccounts('alice', 'bob'), await withAccounts('carol')];
      const [ofCarol] = await sessionsIn().forPrincipal('carol').list();
      const jar = new Map(client.jar);
      for (const handle of [ofCarol!.handle, 'x', '', '../x']) {
        for (const path of ['/accounts/switch', '/accounts/remove']) {
          const answer = await client.post(path, { json: { handle } });
          expect(answer).toMatchObject({ status: 200, json: { done: false }, setCookie: [] });
        }
      }
      expect(client.jar).toEqual(jar);
      expect(await me(other)).toMatchObject({ principal: 'carol' });
    });

    it('are at most as many as the option says', async () => {
      const client = await withAccounts('alice', 'bob', 'carol');
      const jar = new Map(client.jar);
      const answer = await client.post('/accounts/add');
      expect(answer.status).toBe(409);
      expect(answer.json).toMatchObject({ code: 'SESSION_LIMIT_REACHED' });
      expect(answer.setCookie).toEqual([]);
      expect(client.jar).toEqual(jar);
      expect(await namesIn(client)).toEqual(['carol!', 'alice', 'bob']);
      await sessionsIn().forPrincipal('alice').revokeAll();
      expect((await client.post('/accounts/add')).status).toBe(200);
      await login(client, 'dora');
      expect((await namesIn(client)).sort()).toEqual(['bob', 'carol', 'dora!']);
    });

    it('are added and logged in within one request', async () => {
      const client = await withAccounts('alice');
      const answer = await client.post('/accounts/add-and-login', { json: { name: 'bob' } });
      expect(Object.keys(cookiesIn(answer)).sort()).toEqual([MAIN, PARKED]);
      expect(answer.setCookie).toHaveLength(2);
      expect(await namesIn(client)).toEqual(['bob!', 'alice']);
      expect(await me(client)).toMatchObject({ principal: 'bob', data: {} });
    });

    it('are not changed any more by who holds the session before: that is an error', async () => {
      const client = await withAccounts('alice');
      const answer = await client.post('/accounts/add-and-go-on');
      expect(answer.status).toBe(500);
      expect(answer.json).toMatchObject({ code: 'SESSION_ENDED' });
      expect(await me(client)).toMatchObject({ data: { note: 'of the next' } });
      await client.post('/accounts/switch', { json: { handle: await handleIn(client, 'alice') } });
      expect(await me(client)).toMatchObject({ principal: 'alice', data: { cart: 'alice' } });
      expect((await me(client)).data as object).not.toHaveProperty('note');
    });

    it('are found by the handle that was listed, although the id is just being renewed', async () => {
      const clock = new FakeClock();
      app = await startWith({ clock, renewalTimeout: '15m', idleTimeout: '2h' });
      const client = await withAccounts('alice');
      const [{ handle } = { handle: '' }] = await listIn(client);
      clock.advance(20 * 60_000);
      const switched = await client.post('/accounts/switch', { json: { handle } });
      expect(switched.json).toEqual({ done: true, principal: 'alice' });
      const [renewed = { handle: '' }] = await listIn(client);
      expect(renewed.handle).not.toBe(handle);
      clock.advance(20 * 60_000);
      const removed = await client.post('/accounts/remove', { json: { handle: renewed.handle } });
      expect(removed.json).toEqual({ done: true });
      expect(await sessionsIn().count()).toBe(0);
    });

    it('leave nothing behind of who was nobody', async () => {
      const client = browse(app);
      await client.post('/set', { json: { cart: 'nobody' } });
      await client.post('/accounts/add');
      expect(client.jar.size).toBe(0);
      expect(await namesIn(client)).toEqual([]);
      expect(await sessionsIn().count()).toBe(0);
      const other = await withAccounts('alice');
      await other.post('/accounts/add');
      await other.post('/set', { json: { cart: 'nobody' } });
      await other.post('/accounts/switch', { json: { handle: await handleIn(other, 'alice') } });
      expect(await namesIn(other)).toEqual(['alice!']);
      expect(await sessionsIn().count()).toBe(1);
    });

    it('end one by one: whoever is removed is logged out for good', async () => {
      const client = await withAccounts('alice', 'bob', 'carol');
      const tokens = new Map(client.jar);
      const remove = async (name: string) =>
        client.post('/accounts/remove', { json: { handle: await handleIn(client, name) } });
      expect((await remove('alice')).json).toEqual({ done: true });
      expect(await namesIn(client)).toEqual(['carol!', 'bob']);
      expect(await namesIn(client.another(tokens))).toEqual(['carol!', 'bob']);
      const current = await remove('carol');
      expect(current.json).toEqual({ done: true });
      expect([...client.jar.keys()]).toEqual([PARKED]);
      expect(await namesIn(client)).toEqual(['bob']);
      await client.post('/accounts/switch', { json: { handle: await handleIn(client, 'bob') } });
      expect(await me(client)).toMatchObject({ principal: 'bob' });
      expect([...client.jar.keys()]).toEqual([MAIN]);
      await remove('bob');
      expect(client.jar.size).toBe(0);
      expect(await sessionsIn().count()).toBe(0);
    });

    it('outlive the logout of the one in use', async () => {
      const client = await withAccounts('alice', 'bob');
      expect((await client.post('/logout')).status).toBe(204);
      expect([...client.jar.keys()]).toEqual([PARKED]);
      expect(await me(client)).toEqual({ roles: [], data: {} });
      expect(await namesIn(client)).toEqual(['alice']);
      const json = { handle: await handleIn(client, 'alice') };
      expect((await client.post('/accounts/switch', { json })).json).toMatchObject({ done: true });
      expect(await me(client)).toMatchObject({ principal: 'alice', data: { cart: 'alice' } });
    });

    it('drop out when they end, by time or from elsewhere', async () => {
      const client = await withAccounts('alice', 'bob', 'carol');
      const handles = {
        alice: await handleIn(client, 'alice'),
        bob: await handleIn(client, 'bob'),
      };
      expect(await sessionsIn().forPrincipal('alice').revokeAll()).toBe(1);
      const json = { handle: handles.alice };
      const answer = await client.post('/accounts/switch', { json });
      expect(answer.json).toEqual({ done: false });
      expect(await me(client)).toMatchObject({ principal: 'carol' });
      expect(await namesIn(client)).toEqual(['carol!', 'bob']);

      clock.advance('29m');
      await client.get('/me');
      clock.advance('2m');
      const before = client.jar.get(PARKED);
      const listed = await client.get('/accounts');
      expect(listed.json).toEqual([expect.objectContaining({ principal: 'carol' })]);
      expect(cookiesIn(listed)[PARKED]?.attributes['max-age']).toBe('0');
      const late = client.another([[PARKED, before!]]);
      const again = await late.post('/accounts/switch', { json: { handle: handles.bob } });
      expect(again.json).toMatchObject({ done: false });
    });

    it('see a change of their grants when they are switched to, under a new id', async () => {
      const client = await withAccounts('alice', 'bob');
      const handle = await handleIn(client, 'alice');
      await sessionsIn()
        .forPrincipal('alice')
        .updateGrants({ roles: ['editor'] });
      const parked = client.jar.get(PARKED);
      await client.post('/accounts/switch', { json: { handle } });
      expect(await me(client)).toMatchObject({ principal: 'alice', roles: ['editor'] });
      expect(client.jar.get(MAIN)).not.toBe(parked);
    });

    it('that are parked have a cookie as that of the one in use', async () => {
      const client = await withAccounts('alice');
      const { [PARKED]: parked, [MAIN]: main } = cookiesIn(await client.post('/accounts/add'));
      expect(main?.attributes['max-age']).toBe('0');
      expect(parked?.attributes).toEqual({
        path: '/',
        httponly: '',
        secure: '',
        samesite: 'Lax',
      });
      await login(client, 'bob', { rememberMe: true });
      const { [PARKED]: lasting } = cookiesIn(await client.post('/accounts/add'));
      expect(lasting?.attributes['max-age']).toBe(String(30 * 86_400));
      await login(client, 'carol');
      expect((await namesIn(client)).sort()).toEqual(['alice', 'bob', 'carol!']);
      expect(parked?.value).toBe(lasting?.value.split('~')[0]);
    });

    it.each<[string, SessionModuleOptions]>([
      ['signed', { secret: SECRET }],
      ['unsigned', {}],
    ])('that are parked, %s, are not found by what is no token of theirs', async (_, options) => {
      app = await startWith(options);
      const client = await withAccounts('alice', 'bob');
      const [main, parked] = [client.jar.get(MAIN)!, client.jar.get(PARKED)!];
      const flipped = (text: string, at: number) =>
        text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1);
      const [ofAlice] = await sessionsIn().forPrincipal('alice').list();
      for (const wrong of [
        flipped(parked, 10),
        flipped(parked, parked.length - 3),
        parked.slice(1),
        `${parked}x`,
        `x${parked}`,
        ofAlice!.handle,
        'x',
        '~',
        '~~~~',
        'A'.repeat(44),
        'x~'.repeat(2_000),
        '%7E',
      ]) {
        const forged = client.another([
          [MAIN, main],
          [PARKED, wrong],
        ]);
        const answer = await forged.get('/accounts');
        expect([wrong, answer.status]).toEqual([wrong, 200]);
        expect([wrong, await namesIn(forged)]).toEqual([wrong, ['bob!']]);
        const json = { handle: ofAlice!.handle };
        expect((await forged.post('/accounts/switch', { json })).json).toMatchObject({
          done: false,
        });
        expect((await forged.post('/accounts/add')).status).toBe(200);
        expect(await namesIn(forged)).toEqual(['bob']);
      }
      // A token among others that are none is found all the same.
      const mixed = client.another([
        [MAIN, main],
        [PARKED, `x~${parked}~~y`],
      ]);
      expect(await namesIn(mixed)).toEqual(['bob!', 'alice']);
      expect(await namesIn(client)).toEqual(['bob!', 'alice']);
    });

    it('are each there once, whatever the cookies repeat', async () => {
      const client = await withAccounts('alice', 'bob');
      const [main, parked] = [client.jar.get(MAIN)!, client.jar.get(PARKED)!];
      const repeating = client.another([
        [MAIN, main],
        [PARKED, [parked, main, parked].join('~')],
      ]);
      expect(await namesIn(repeating)).toEqual(['bob!', 'alice']);
    });

    it('are asked for in the store no more often than there may be tokens', async () => {
      const store = new WatchedStore(new MemorySessionStore(clock));
      app = await startWith({ store });
      const client = browse(app);
      const ids = Array.from({ length: 200 }, (_, i) => String(i).padStart(44, 'A'));
      client.jar.set(PARKED, ids.join('~'));
      store.take();
      expect((await client.get('/accounts')).json).toEqual([]);
      expect(store.take().length).toBeLessThanOrEqual(16);
    });

    it('are an error that says what is missing, where the option is not set', async () => {
      app = await startWith({ accounts: undefined });
      const client = browse(app);
      await login(client, 'alice');
      for (const answer of [await client.get('/accounts'), await client.post('/accounts/add')]) {
        expect(answer).toMatchObject({ status: 500, json: { code: 'SESSION_UNAVAILABLE' } });
        expect(answer.setCookie).toEqual([]);
      }
      expect(app.logger.texts('error').join()).toContain('set the option "accounts"');
      expect(await me(client)).toMatchObject({ principal: 'alice' });
    });

    it('need a cookie to keep them', async () => {
      await expect(startWith({ transport: 'x-auth-token' })).rejects.toThrow(/accounts.*cookie/);
    });

    it('are kept apart by name', async () => {
      @UseSession('admin')
      @Controller('admin')
      class Admins {
        @Post('login') @HttpCode(200) async login(@Session() session: Session) {
          await session.authenticate('root');
        }
        @Post('add') @HttpCode(200) async add(@Accounts() accounts: SessionAccounts) {
          await accounts.add();
        }
        @Get('accounts') list(@Accounts() accounts: SessionAccounts) {
          return accounts.list();
        }
      }
      app = await start({
        controllers: [Browsing, Admins],
        imports: [SessionModule.forFeature('admin')],
        session: { accounts: 3 },
      });
      const client = await withAccounts('alice', 'bob');
      await client.post('/admin/login');
      await client.post('/admin/add');
      expect([...client.jar.keys()].sort()).toEqual([MAIN, PARKED, `${ADMIN}-accounts`].sort());
      expect((await client.get('/admin/accounts')).json).toEqual([
        expect.objectContaining({ principal: 'root', current: false }),
      ]);
      expect(await namesIn(client)).toEqual(['bob!', 'alice']);
    });
  });
});
