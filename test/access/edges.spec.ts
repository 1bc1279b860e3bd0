import { afterEach, describe, expect, it } from '@jest/globals';
import {
  Controller,
  Get,
  HttpCode,
  Injectable,
  Post,
  UseGuards,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import {
  Accounts,
  AllowAnonymous,
  MemorySessionStore,
  RequireRole,
  RequireSession,
  Session,
  SessionGuard,
  SessionModule,
  SessionService,
  SkipSession,
  UseSession,
  type SessionAccounts,
  type SessionFeatureOptions,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { assuranceOf } from '../../lib/core/assurance.js';
import { ADAPTERS, type TestApp, type TestAppOptions } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { startRedis as startRedisUnderTest } from '../support/redis-under-test.js';

class TenantGuard extends SessionGuard {
  constructor(private readonly tenant: string) {
    super();
  }

  protected override isAllowed(session: Session): boolean {
    return session.claims[this.tenant] === true;
  }
}

/** A session will do, and so will a key. */
@Injectable()
class SessionOrKeyGuard extends SessionGuard implements CanActivate {
  override async canActivate(context: ExecutionContext): Promise<boolean> {
    const { headers } = context
      .switchToHttp()
      .getRequest<{ headers: Record<string, string | undefined> }>();
    return super.canActivate(context).catch((error: unknown) => {
      if (headers['x-api-key'] === 'right') return true;
      throw error;
    });
  }
}

@Controller()
class Shop {
  constructor(private readonly sessions: SessionService) {}

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('alice', { claims: { a: true } });
  }

  @Post('elevate') @HttpCode(200) elevate(@Session() session: Session) {
    return session.elevate('otp');
  }

  @Post('logout-everywhere') @HttpCode(200) async end() {
    return { ended: await this.sessions.forPrincipal('alice').revokeAll() };
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal };
  }

  @UseGuards(new TenantGuard('a')) @Get('a') a() {
    return {};
  }

  @UseGuards(new TenantGuard('a'), new TenantGuard('b')) @Get('both') both() {
    return {};
  }

  @UseGuards(SessionOrKeyGuard) @Get('keyed') keyed() {
    return {};
  }

  @Post('accounts/add-and-use') @HttpCode(200) async addAndUse(
    @Session() before: Session,
    @Accounts() accounts: SessionAccounts,
  ) {
    const session = await accounts.add();
    const login = await before.authenticate('bob').catch((error: unknown) => error);
    const change = await Promise.resolve()
      .then(() => before.set('lost', true))
      .catch((error: unknown) => error);
    await session.authenticate('bob');
    return [login, change].map((error) => (error as { code?: string } | undefined)?.code);
  }

  @Post('accounts/switch') @HttpCode(200) async switch(@Accounts() accounts: SessionAccounts) {
    const [, other] = await accounts.list();
    return { principal: (await accounts.switch(other!.handle))?.principal };
  }

  @Get('accounts') async accounts(@Accounts() accounts: SessionAccounts) {
    return (await accounts.list()).map(({ principal }) => principal);
  }
}

@RequireRole('admin')
@Controller('office')
class Office {
  @SkipSession() @Get('skipped') skipped() {
    return {};
  }

  @AllowAnonymous() @Get('open') open() {
    return {};
  }
}

@UseSession('admin')
@RequireSession()
@Controller('admin')
class Admin {
  @Get('x') x() {
    return {};
  }
}

describe.each(ADAPTERS)('access at its edges, on %s', (adapter) => {
  const opened = new Opened();

  afterEach(opened.close);

  const startRedis = async () => {
    const server = await startRedisUnderTest();
    opened.add({ close: () => server.stop() });
    return server;
  };

  const start = async (
    session: SessionModuleOptions = {},
    more: Partial<TestAppOptions> = {},
  ): Promise<{ app: TestApp; client: HttpClient }> => {
    const app = await opened.app({
      adapter,
      session: { store: 'memory', cookie: { secure: false }, ...session },
      controllers: [Shop, Office],
      ...more,
    });
    return { app, client: opened.browser(app) };
  };

  const beside = (feature: SessionFeatureOptions) => ({
    imports: [SessionModule.forFeature('admin', feature)],
    controllers: [Shop, Admin],
  });

  it('two guards of one class are two guards', async () => {
    const { client } = await start();
    await client.post('/login');
    expect((await client.get('/a')).status).toBe(200);
    expect((await client.get('/both')).status).toBe(403);
  });

  it('what a class lets only some do, a route without a session lets nobody do', async () => {
    const { client } = await start();
    expect((await client.get('/office/skipped')).status).toBe(500);
    expect((await client.get('/office/open')).status).toBe(200);
  });

  it('a refusal that another way made good for leaves no challenge', async () => {
    const { client } = await start();
    const refused = await client.get('/keyed');
    expect(refused.status).toBe(401);
    expect(refused.headers['www-authenticate']).toBe('Session error="login_required"');
    const passed = await client.get('/keyed', { headers: { 'x-api-key': 'right' } });
    expect(passed.status).toBe(200);
    expect(passed.headers['www-authenticate']).toBeUndefined();
  });

  it('who goes on under a new id that another request got is told to try again, not to log in', async () => {
    const { client } = await start();
    await client.post('/login');
    const before = client.another(client.jar);
    await client.post('/elevate');
    const late = await before.get('/me');
    expect(late.status).toBe(409);
    expect(late.json).toMatchObject({ code: 'SESSION_CONFLICT' });
    expect([late.setCookie, late.headers['www-authenticate']]).toEqual([[], undefined]);
    expect((await client.get('/me')).status).toBe(200);
    await client.post('/logout-everywhere');
    expect((await before.get('/me')).status).toBe(401);
  });

  it('who had nobody logged in before the login is still told to log in', async () => {
    const { client } = await start({}, { controllers: [Shop, Visits] });
    await client.post('/visit');
    const before = client.another(client.jar);
    await client.post('/login');
    expect((await before.get('/me')).status).toBe(401);
  });

  it('what holds the session from before another account can do nothing with it', async () => {
    const { client } = await start({ accounts: 3 });
    await client.post('/login');
    const late = await client.post('/accounts/add-and-use');
    expect([late.status, late.json]).toEqual([200, ['SESSION_ENDED', 'SESSION_ENDED']]);
    expect((await client.get('/accounts')).json).toEqual(['bob', 'alice']);
    expect((await client.post('/accounts/switch')).json).toEqual({ principal: 'alice' });
    expect((await client.get('/accounts')).json).toEqual(['alice', 'bob']);
  });

  it('an outage loses no account of the browser', async () => {
    const server = await startRedis();
    const { client } = await start({ store: undefined, redis: server.connection(), accounts: 3 });
    await client.post('/login');
    await client.post('/accounts/add-and-use');
    const jar = new Map(client.jar);
    await server.kill();
    for (const path of ['/accounts/switch', '/accounts/add-and-use']) {
      const answer = await client.post(path);
      expect([answer.status, answer.setCookie]).toEqual([503, []]);
    }
    expect(client.jar).toEqual(jar);
  });

  describe('sessions of another name', () => {
    it.each([
      ['the prefix of forRoot', {}, { keyPrefix: 'sess' }],
      ['that prefix told', { keyPrefix: 'a' }, { keyPrefix: 'a' }],
    ])('do not boot with %s', async (_, main, feature) => {
      await expect(start(main, beside(feature))).rejects.toThrow(/share the keyPrefix "(sess|a)"/);
    });

    it('do not open with an id of the others, not even in one place by mistake', async () => {
      const server = await startRedis();
      const redis = { store: undefined, redis: server.connection() };
      const feature = { redis: server.connection(), keyPrefix: 'sess' };
      const { client } = await start(redis, beside(feature));
      await client.post('/login');
      const token = client.jar.get('session')!;
      const intruder = client.another([['session-admin', token]]);
      expect((await intruder.get('/admin/x')).status).toBe(401);
      // And it is not ended for that.
      expect((await client.get('/me')).status).toBe(200);
    });

    it('do not boot with the cookie in which others keep parked accounts', async () => {
      const module = SessionModule.forFeature('accounts');
      await expect(start({ accounts: 2 }, { imports: [module] })).rejects.toThrow(
        /same way \(cookie session-accounts\)/,
      );
    });

    it('have a Redis of their own beside others in memory', async () => {
      const server = await startRedis();
      const { client } = await start({}, beside({ redis: server.connection() }));
      expect((await client.get('/admin/x')).status).toBe(401);
    });
  });

  it('what leads nowhere is a mistake of who asks, not an outage', async () => {
    const { app } = await start();
    const sessions = app.app.get(SessionService);
    await expect(sessions.findBy('idpSession', 'x', { limit: 0.5 })).rejects.toThrow(TypeError);
    for (const after of [
      { handle: 'x', authenticatedAt: 1 },
      { handle: '', authenticatedAt: NaN },
    ]) {
      await expect(sessions.forPrincipal('alice').list({ after })).rejects.toThrow(TypeError);
    }
  });
});

@Controller()
class Visits {
  @Post('visit') visit(@Session() session: Session) {
    session.increment('visits');
    return {};
  }
}

describe('factors', () => {
  it.each(['constructor', '__proto__', 'toString', 'anything'])(
    'that nobody knows prove nothing more: %s',
    (factor) => {
      expect(assuranceOf(['pwd', factor])).toBe(1);
    },
  );
});

describe('sessions in memory', () => {
  it('leave no places behind when they end by time, are deleted, or make room', async () => {
    const clock = new FakeClock();
    const store = new MemorySessionStore(clock, { maxSessions: 100 });
    for (let i = 0; i < 2_000; i++) {
      const handle = `00${String(i).padStart(43, '0')}`;
      const standing = { places: [`p:${i}`], since: i, life: 1_000 };
      await store.create(handle, `${'0'.repeat(14)}1`, { ttl: 1_000, standing });
      if (i % 3 === 0) await store.delete(handle);
      clock.advance(20);
    }
    const left = [];
    for await (const place of store.placesOf('p')) left.push(place);
    expect(left.length).toBeLessThanOrEqual(100);
  });
});
