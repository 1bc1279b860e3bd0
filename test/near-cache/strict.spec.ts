import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  Controller,
  Get,
  HttpCode,
  Inject,
  Injectable,
  NotFoundException,
  Post,
  Session as NestSession,
  UseGuards,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import {
  Consistency,
  RequireRole,
  Session,
  SESSION_STORE,
  SessionGuard,
  SessionModule,
  SessionService,
  type SessionModuleOptions,
  type SessionStore,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, SECRET, startApp, until, type AdapterName } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

/** Asks for the session twice at once, as two resolvers of one operation do. */
@Injectable()
class BothGuard implements CanActivate {
  constructor(private readonly guard: SessionGuard) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const near = this.guard.canActivate(forHandler(context, 'me'));
    const strong = this.guard.canActivate(forHandler(context, 'admin'));
    return (await Promise.all([near, strong])).every(Boolean);
  }
}

const forHandler = (context: ExecutionContext, name: 'me' | 'admin'): ExecutionContext =>
  Object.create(context, {
    getHandler: { value: () => Routes.prototype[name] },
  }) as ExecutionContext;

/** Decides by what it finds in the session. */
@Injectable()
class StaffGuard extends SessionGuard {
  protected override isAllowed(session: Session): boolean {
    return session.claims.staff === true;
  }
}

/** Lets ours judge, and then looks itself. */
@Injectable()
class ClerkGuard extends SessionGuard {
  @Inject(SessionService) private readonly sessions!: SessionService;

  override async canActivate(context: ExecutionContext): Promise<boolean> {
    if (!(await super.canActivate(context))) return false;
    return this.sessions.current()!.roles.includes('admin');
  }
}

/** Overrides nothing that decides, as far as anybody can see. */
@Injectable()
class SilentGuard extends SessionGuard {
  protected override refuseForbidden(): never {
    throw new NotFoundException();
  }
}

/** Not made from ours: nobody knows what it decides. */
@Injectable()
class StrangeGuard implements CanActivate {
  constructor(private readonly sessions: SessionService) {}

  async canActivate(): Promise<boolean> {
    const session = await this.sessions.current()!.load();
    return session.roles.includes('admin');
  }
}

@Controller()
class Routes {
  @UseGuards(SessionGuard) @Get('me') me() {
    return {};
  }

  @RequireRole('admin') @Get('admin') admin() {
    return {};
  }

  @UseGuards(BothGuard) @Get('both') both() {
    return {};
  }

  @UseGuards(StaffGuard) @Get('staff') staff() {
    return {};
  }

  @Consistency('near') @UseGuards(StaffGuard) @Get('near-staff') nearStaff() {
    return {};
  }

  @UseGuards(ClerkGuard) @Get('clerk') clerk() {
    return {};
  }

  @Consistency('near') @UseGuards(ClerkGuard) @Get('near-clerk') nearClerk() {
    return {};
  }

  /** The one that stands further out has read a copy. */
  @UseGuards(SessionGuard, ClerkGuard) @Get('inner-clerk') innerClerk() {
    return {};
  }

  @UseGuards(SilentGuard) @Get('silent') silent() {
    return {};
  }

  @UseGuards(StrangeGuard) @Get('strange') strange() {
    return {};
  }

  @Consistency('strong') @UseGuards(StrangeGuard) @Get('strong-strange') strongStrange() {
    return {};
  }

  /** Nest's own decorator: whoever reads by it has loaded nothing himself. */
  @Consistency('strong') @Get('plain') plain(@NestSession() session: Record<string, unknown>) {
    return { note: session.note ?? null };
  }

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('alice', { roles: ['admin'], claims: { staff: true } });
    session.set('note', 'first');
    return {};
  }
}

describe.each(ADAPTERS)('what must not be decided on a copy, on %s', (adapter: AdapterName) => {
  const opened = new Opened();
  let redis: RedisUnderTest;
  let probe: RedisProbe;

  beforeAll(async () => {
    redis = await startRedis();
    probe = await RedisProbe.start(redis);
    await probe.watch();
  }, 60_000);
  afterEach(opened.close);
  afterAll(async () => {
    await probe.stop();
    await redis.stop();
  });

  /** One node, and a browser that is logged in and served from a copy. */
  const begun = async (session: SessionModuleOptions = {}) => {
    const node = opened.add(
      await startApp({
        adapter,
        controllers: [Routes],
        session: {
          redis: redis.connection(),
          secret: SECRET,
          cookie: { secure: false },
          nearCache: true,
          idleTimeout: '1h',
          touchAfter: '10m',
          ...session,
        },
      }),
    );
    const sessions = node.app.get(SessionService);
    await until('copies are kept', () => sessions.nearCache()?.live);
    const alice = opened.browser(node);
    await alice.post('/login');
    for (let i = 0; i < 2; i++) expect((await alice.get('/me')).status).toBe(200);
    expect(sessions.nearCache()).toMatchObject({ entries: 1 });
    const handle = (await sessions.forPrincipal('alice').list())[0]!.handle;
    return { node, sessions, alice, handle };
  };
  const commandsOf = async (client: HttpClient, path: string) => {
    let status = 0;
    const seen = await probe.commandsDuring(async () => {
      status = (await client.get(path)).status;
    });
    return { status, asked: seen.filter(({ name }) => name !== 'ping').length };
  };
  const ASKED = { status: 200, asked: 1 };
  const SERVED = { status: 200, asked: 0 };

  it('asks the store for roles also where another guard has read the session before', async () => {
    const { alice } = await begun();
    expect(await commandsOf(alice, '/me')).toEqual(SERVED);
    expect(await commandsOf(alice, '/both')).toEqual(ASKED);
  });

  it('asks it where an application decides by itself, unless the route says otherwise', async () => {
    const { alice } = await begun();
    expect(await commandsOf(alice, '/staff')).toEqual(ASKED);
    expect(await commandsOf(alice, '/near-staff')).toEqual(SERVED);
  });

  it('asks it where a guard made from ours decides by whatever it overrides', async () => {
    const { alice } = await begun();
    for (const path of ['/clerk', '/inner-clerk', '/silent']) {
      expect(await commandsOf(alice, path)).toEqual(ASKED);
    }
    expect(await commandsOf(alice, '/near-clerk')).toEqual(SERVED);
  });

  it('knows nothing of guards that are not: those are served as their route is', async () => {
    const { alice } = await begun();
    expect(await commandsOf(alice, '/strange')).toEqual(SERVED);
    expect(await commandsOf(alice, '/strong-strange')).toEqual(ASKED);
  });

  it('asks it once the route is known, where sessions are read before', async () => {
    const { alice } = await begun({ loading: 'eager' });
    expect(await commandsOf(alice, '/me')).toEqual(SERVED);
    expect(await commandsOf(alice, '/plain')).toEqual(ASKED);
    expect(await commandsOf(alice, '/admin')).toEqual(ASKED);
  });

  it('takes a copy that has lived long enough for none, where sessions are read before', async () => {
    const clock = new FakeClock(Date.now());
    const { alice } = await begun({ loading: 'eager', clock, absoluteTimeout: '1h' });
    clock.advance(3_600_001);
    expect((await alice.get('/admin')).status).toBe(401);
  });

  it('knows what the store was told beside the sessions', async () => {
    const { node, alice, handle } = await begun();
    const store = node.app.get<SessionStore>(SESSION_STORE);
    expect(await store.delete(handle)).toBeDefined();
    expect((await alice.get('/me')).status).toBe(401);
  });

  it('goes on being told after the store was asked to move an idle window', async () => {
    const { node, alice, handle } = await begun();
    const store = node.app.get<SessionStore>(SESSION_STORE);
    for (const touch of [
      () => store.touch(handle, 60_000),
      () => store.load(handle, { touch: 60_000 }),
    ]) {
      await alice.get('/me');
      await touch();
      await alice.get('/me');
    }
    await probe.client.del(`{sess:${handle.slice(0, 2)}}:s:${handle}`);
    await until('the copy is gone', async () => (await alice.get('/me')).status === 401);
  });
});

describe('named sessions beside a near cache', () => {
  const opened = new Opened();
  let redis: RedisUnderTest;
  beforeAll(async () => void (redis = await startRedis()), 60_000);
  afterEach(opened.close);
  afterAll(() => redis.stop());

  it('have one of their own, and none where they live in this process', async () => {
    const session = { redis: redis.connection(), nearCache: true, secret: SECRET } as const;
    const { app } = await opened.app({
      adapter: 'express',
      imports: [
        SessionModule.forRoot(session),
        SessionModule.forFeature('staff'),
        SessionModule.forFeature('guests', { store: 'memory' }),
      ],
    });
    const figuresOf = (name: string) =>
      app.get<SessionService>(Symbol.for(`nestjs-distributed-session/service/${name}`)).nearCache();
    expect(figuresOf('staff')).toMatchObject({ live: true, entries: 0 });
    expect(figuresOf('guests')).toBeUndefined();
  });
});
