import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  Body,
  ClassSerializerInterceptor,
  Controller,
  DefaultValuePipe,
  Get,
  HttpCode,
  Injectable,
  Module,
  ParseIntPipe,
  Post,
  Req,
  RequestMethod,
  Session as NestSession,
  UnauthorizedException,
  UseGuards,
  UseInterceptors,
  ValidationPipe,
  type CallHandler,
  type DynamicModule,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import * as nest from '@nestjs/common';
import { APP_GUARD, Reflector } from '@nestjs/core';
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';
import * as v from 'valibot';
import {
  AllowAnonymous,
  InjectSessionStore,
  PassiveSession,
  Principal,
  RequireSession,
  Session,
  SessionGuard,
  SessionId,
  SessionModule,
  SessionService,
  SkipSession,
  type SessionModuleOptions,
  type SessionModuleOptionsFactory,
  type SessionStore,
} from 'nestjs-distributed-session';
import {
  ADAPTERS,
  byHandle,
  NEAR_CACHE,
  SECRET,
  startApp,
  until,
  type TestApp,
  type TestAppOptions,
} from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { NEST } from '../support/nest.js';
import { RedisProbe } from '../support/redis-probe.js';
import { clientFor, startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

declare module 'nestjs-distributed-session' {
  interface SessionData {
    /** Declared here: typed wherever a session is used. */
    faceColours?: string[];
  }
}

@Injectable()
class AdminGuard extends SessionGuard {
  protected override isAllowed(session: Session): boolean {
    return session.roles.includes('admin');
  }
}

@Injectable()
class PoliteGuard extends SessionGuard {
  protected override refuseAnonymous(): never {
    throw new UnauthorizedException('please log in');
  }
}

/** Uses the session without any parameter of the handler. */
@Injectable()
class CountingInterceptor implements NestInterceptor {
  constructor(private readonly sessions: SessionService) {}
  async intercept(_: ExecutionContext, next: CallHandler) {
    const session = await this.sessions.current()?.load();
    session?.increment('counted');
    return next.handle();
  }
}

@Controller()
class Face {
  constructor(
    private readonly sessions: SessionService,
    @InjectSessionStore() private readonly store: SessionStore,
  ) {}

  @Post('set') set(@Session() session: Session, @Body() body: Record<string, unknown>) {
    for (const [key, value] of Object.entries(body)) session.set(key, value);
    return {};
  }

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name, roles }: { name: string; roles?: string[] },
  ) {
    await session.authenticate(name, { roles: roles ?? [] });
    return { principal: session.principal };
  }

  @Post('logout') @HttpCode(204) logout(@Session() session: Session) {
    return session.destroy();
  }

  @Get('all') all(@Session() session: Session) {
    const { isNew, principal, roles, data } = session;
    return { isNew, principal, roles, data };
  }

  @Get('attribute') attribute(@Session('colour') colour: unknown) {
    return { colour: colour ?? null };
  }

  @Get('number') number(@Session('count', ParseIntPipe) count: number) {
    return { count, type: typeof count };
  }

  @Get('default') withDefault(@Session('page', new DefaultValuePipe(7)) page: number) {
    return { page };
  }

  @Get('id') id(@Session() session: Session, @SessionId() id: string) {
    return { same: session.id === id, shape: /^[\w-]{44}$/.test(id) };
  }

  @Get('principal') principal(@Principal() principal: string | undefined) {
    return { principal: principal ?? null };
  }

  @RequireSession() @Get('required') required(@Principal() principal: string) {
    return { principal };
  }

  @UseGuards(AdminGuard) @Get('admin') admin() {
    return { admin: true };
  }

  @UseGuards(PoliteGuard) @Get('polite') polite() {
    return { polite: true };
  }

  @PassiveSession() @Get('passive') passive(@Session('colour') colour: unknown) {
    return { colour: colour ?? null };
  }

  @SkipSession() @Get('skipped') skipped() {
    return { current: typeof this.sessions.current() };
  }

  @SkipSession() @Get('skipped-but-asked') skippedButAsked(@Session() session: Session) {
    return { session };
  }

  @UseInterceptors(CountingInterceptor) @Get('counted') counted(@Session('counted') n: number) {
    return { n };
  }

  @Get('store') async stored(@Session() session: Session) {
    return { found: (await this.store.load(session.handle)) !== undefined };
  }

  @Post('flash') flash(@Session() session: Session) {
    session.flash('info', 'saved');
    session.flash('info', { text: 'twice' });
    return {};
  }

  @Get('flash') take(@Session() session: Session) {
    return { info: session.flash('info'), again: session.flash('info') };
  }

  @Post('typed') typed(@Session() session: Session) {
    session.set('faceColours', ['red']);
    const colours: string[] | undefined = session.get('faceColours');
    session.data.faceColours?.push('blue');
    // @ts-expect-error -- declared as a list of strings
    session.set('faceColours', 5);
    session.set('faceColours', colours ?? []);
    return { colours: session.data.faceColours };
  }

  @Post('nested') nested(@Session() session: Session) {
    session.data.basket ??= { items: [] };
    (session.data.basket as { items: string[] }).items.push('tea');
    return session.data.basket;
  }

  @Get('itself') itself(@Session() session: Session) {
    return session;
  }

  @UseInterceptors(ClassSerializerInterceptor) @Get('serialized') serialized(
    @Session() session: Session,
  ) {
    return { session };
  }

  @Get('printed') printed(@Session() session: Session, @Req() request: { session: unknown }) {
    const shown = [session, this.sessions, request.session];
    return { text: shown.map((one) => inspect(one, { depth: 20, showHidden: true })).join('\n') };
  }

  @Get('nest') nest(@NestSession() session: Record<string, unknown>) {
    session.visits = ((session.visits as number | undefined) ?? 0) + 1;
    return { visits: session.visits, keys: Object.keys(session) };
  }

  @Post('current') async current(@Body() body: { text?: string }) {
    const now = this.sessions.current();
    await turn();
    await delay(1);
    await Promise.resolve();
    const later = this.sessions.current();
    await later?.load();
    later?.increment('current');
    return { same: now !== undefined && now === later, length: body.text?.length ?? 0 };
  }
}

/** A controller of another module, which imports nothing. */
@Controller('feature')
class Feature {
  constructor(private readonly sessions: SessionService) {}

  @Get() feature(@Session('colour') colour: unknown) {
    return { colour: colour ?? null, current: typeof this.sessions.current() };
  }

  @Post() change(@Session() session: Session) {
    session.set('colour', 'green');
    return {};
  }
}

@Module({ controllers: [Feature] })
class FeatureModule {}

@Injectable()
class Settings {
  readonly prefix = 'from-settings';
}

@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

describe.each(ADAPTERS)('the face on %s', (adapter) => {
  let server: RedisUnderTest;
  let probe: RedisProbe;
  let now = Date.now();
  const opened: { close(): unknown }[] = [];

  const start = async (options: Partial<TestAppOptions> = {}) => {
    const running = await startApp({
      adapter,
      controllers: [Face],
      session: { redis: server.connection(), secret: SECRET, clock: { now: () => now } },
      ...options,
    });
    opened.push(running);
    return running;
  };
  const browse = (running: TestApp) => {
    const client = new HttpClient(running.port);
    opened.push(client);
    return client;
  };
  /** A browser in front of an application of its own. */
  const visit = async (options: Partial<TestAppOptions> = {}) => browse(await start(options));

  beforeAll(async () => {
    const keyPrefixes = ['one', 'two', 'from-settings', 'from-class'];
    server = await startRedis({ keyPrefixes });
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

  describe('decorators', () => {
    it('hand over the session, its attributes, its id and its principal', async () => {
      const client = await visit();
      expect((await client.get('/all')).json).toEqual({ isNew: true, roles: [], data: {} });
      expect((await client.get('/attribute')).json).toEqual({ colour: null });
      expect((await client.get('/principal')).json).toEqual({ principal: null });
      expect((await client.get('/id')).json).toEqual({ same: true, shape: true });
      expect(client.jar.size).toBe(0);

      await client.post('/set', { json: { colour: 'red' } });
      expect((await client.get('/attribute')).json).toEqual({ colour: 'red' });
      await client.post('/login', { json: { name: 'alice', roles: ['customer'] } });
      expect((await client.get('/principal')).json).toEqual({ principal: 'alice' });
      expect((await client.get('/all')).json).toEqual({
        isNew: false,
        principal: 'alice',
        roles: ['customer'],
        data: { colour: 'red' },
      });
      expect((await client.get('/store')).json).toEqual({ found: true });
      expect((await client.get('/id')).json).toEqual({ same: true, shape: true });
    });

    it('run pipes over an attribute', async () => {
      const client = await visit();
      expect((await client.get('/number')).status).toBe(400);
      expect((await client.get('/default')).json).toEqual({ page: 7 });
      await client.post('/set', { json: { count: '12', page: 3 } });
      expect((await client.get('/number')).json).toEqual({ count: 12, type: 'number' });
      expect((await client.get('/default')).json).toEqual({ page: 3 });
    });

    // Nest 11 knows no Standard Schemas.
    if (NEST >= 12) {
      it('check an attribute by a Standard Schema', async () => {
        const Profile = v.object({ age: v.pipe(v.number(), v.minValue(18)) });
        @Controller()
        class Profiles {
          @Get('profile') profile(
            @Session('profile', { schema: Profile }) profile: v.InferOutput<typeof Profile>,
          ) {
            return profile;
          }
        }
        const pipe = new nest.StandardSchemaValidationPipe({ validateCustomDecorators: true });
        const client = await visit({
          controllers: [Face, Profiles],
          setup: (app) => void app.useGlobalPipes(pipe),
        });
        expect((await client.get('/profile')).status).toBe(400);
        await client.post('/set', { json: { profile: { age: 17 } } });
        expect((await client.get('/profile')).status).toBe(400);
        await client.post('/set', { json: { profile: { age: 18, more: true } } });
        expect((await client.get('/profile')).json).toEqual({ age: 18 });
        expect((await client.get('/all')).json.isNew).toBe(false);
      });
    }

    it('are left alone by a ValidationPipe that looks at custom decorators too', async () => {
      const client = await visit({
        setup: (app) =>
          void app.useGlobalPipes(
            new ValidationPipe({
              validateCustomDecorators: true,
              whitelist: true,
              forbidNonWhitelisted: true,
              transform: true,
            }),
          ),
      });
      await client.post('/nested');
      expect((await client.post('/nested')).json).toEqual({ items: ['tea', 'tea'] });
      expect((await client.get('/all')).json).toMatchObject({
        isNew: false,
        data: { basket: { items: ['tea', 'tea'] } },
      });
      expect((await client.get('/id')).json).toEqual({ same: true, shape: true });
      expect((await client.post('/logout')).status).toBe(204);
    });

    it('notice nested changes, and know declared attributes by their type', async () => {
      const client = await visit();
      expect((await client.post('/typed')).json).toEqual({ colours: ['red', 'blue'] });
      expect((await client.get('/all')).json).toMatchObject({
        data: { faceColours: ['red', 'blue'] },
      });
    });

    it('PassiveSession does not extend the session, any other use does', async () => {
      const client = await visit();
      await client.post('/set', { json: { colour: 'red' } });
      const [key] = [...(await probe.dump()).keys()] as [string];
      now += 120_000;
      await probe.client.pexpire(key, 100_000);
      expect((await client.get('/passive')).json).toEqual({ colour: 'red' });
      expect((await client.get('/skipped')).json).toEqual({ current: 'undefined' });
      expect(await probe.client.pttl(key)).toBeLessThanOrEqual(100_000);
      await client.get('/attribute');
      // Nobody waits for it where the session was served from a copy.
      const isExtended = async () => (await probe.client.pttl(key)) > 1_700_000;
      await until('its window was started anew', isExtended, { within: NEAR_CACHE ? 1_000 : 0 });
    });

    it('SkipSession leaves a route without a session, and says so where one is asked for', async () => {
      const running = await start();
      const client = browse(running);
      await client.post('/set', { json: { colour: 'red' } });
      const commands = await probe.commandsDuring(async () => {
        const answer = await client.get('/skipped');
        expect(answer.json).toEqual({ current: 'undefined' });
        expect(answer.setCookie).toEqual([]);
        const asked = await client.get('/skipped-but-asked');
        expect(asked.status).toBe(500);
        expect(asked.json).toMatchObject({ code: 'SESSION_UNAVAILABLE' });
      });
      expect(commands).toEqual([]);
      expect(running.logger.texts('error').join()).toContain('@SkipSession()');
    });

    it("Nest's own @Session() hands over the data, and keeps what is changed in it", async () => {
      const client = await visit();
      expect((await client.get('/nest')).json).toEqual({ visits: 1, keys: ['visits'] });
      expect((await client.get('/nest')).json).toEqual({ visits: 2, keys: ['visits'] });
      expect((await client.get('/all')).json).toMatchObject({ data: { visits: 2 } });
    });

    it('flash messages are for the next reader only', async () => {
      const client = await visit();
      await client.post('/flash');
      expect((await client.get('/attribute')).status).toBe(200);
      expect((await client.get('/flash')).json).toEqual({
        info: ['saved', { text: 'twice' }],
        again: [],
      });
      expect((await client.get('/flash')).json).toEqual({ info: [], again: [] });
    });
  });

  it('a session that a handler returns or prints tells no id', async () => {
    const client = await visit();
    await client.post('/set', { json: { colour: 'red' } });
    await client.post('/login', { json: { name: 'alice' } });
    const [token] = [...client.jar.values()] as [string];
    const id = token.slice(0, 44);
    for (const path of ['/itself', '/serialized', '/printed']) {
      const answer = await client.get(path);
      expect(answer.status).toBe(200);
      expect(answer.text).not.toContain(id);
    }
    expect((await client.get('/itself')).json).toMatchObject({ principal: 'alice', ended: false });
  });

  describe('guards', () => {
    it('refuse without an authenticated session: 401 and 403 with a code', async () => {
      const client = await visit();
      for (const path of ['/required', '/admin']) {
        const answer = await client.get(path);
        expect(answer.status).toBe(401);
        expect(answer.json).toMatchObject({ statusCode: 401, code: 'SESSION_REQUIRED' });
        expect(answer.setCookie).toEqual([]);
      }
      // An anonymous session is none that is authenticated.
      await client.post('/set', { json: { colour: 'red' } });
      expect((await client.get('/required')).status).toBe(401);

      await client.post('/login', { json: { name: 'alice', roles: ['customer'] } });
      expect((await client.get('/required')).json).toEqual({ principal: 'alice' });
      const forbidden = await client.get('/admin');
      expect(forbidden.status).toBe(403);
      expect(forbidden.json).toMatchObject({ statusCode: 403, code: 'SESSION_FORBIDDEN' });

      await client.post('/login', { json: { name: 'root', roles: ['admin'] } });
      expect((await client.get('/admin')).json).toEqual({ admin: true });
    });

    it('can be told how to refuse', async () => {
      const client = await visit();
      const answer = await client.get('/polite');
      expect(answer.status).toBe(401);
      expect(answer.json).toMatchObject({ message: 'please log in' });
    });

    it('guard everything as APP_GUARD, but what is open to strangers', async () => {
      @Controller()
      class Mixed {
        @Get('closed') closed() {
          return {};
        }
        @AllowAnonymous() @Get('open') open(@Session() session: Session) {
          return { isNew: session.isNew };
        }
        @SkipSession() @Get('without') without() {
          return {};
        }
        @AllowAnonymous() @Post('login') async login(@Session() session: Session) {
          await session.authenticate('alice');
          return {};
        }
      }
      @AllowAnonymous()
      @Controller('public')
      class Public {
        @Get() open() {
          return {};
        }
        @RequireSession() @Get('closed') closed() {
          return {};
        }
      }
      @RequireSession()
      @Controller('private')
      class Private {
        @Get() closed() {
          return {};
        }
        @AllowAnonymous() @Get('open') open() {
          return {};
        }
      }
      const client = await visit({
        controllers: [Mixed, Public, Private],
        providers: [{ provide: APP_GUARD, useClass: SessionGuard }, Reflector],
      });
      const statusOf = async (path: string) => (await client.get(path)).status;
      const open = ['/open', '/without', '/public', '/private/open'];
      const closed = ['/closed', '/public/closed', '/private'];
      for (const path of open) expect([path, await statusOf(path)]).toEqual([path, 200]);
      for (const path of closed) expect([path, await statusOf(path)]).toEqual([path, 401]);
      await client.post('/login');
      for (const path of closed) expect([path, await statusOf(path)]).toEqual([path, 200]);
    });
  });

  describe('SessionService', () => {
    it('knows the current session through awaits, timers and body parsing', async () => {
      const client = await visit();
      for (const text of ['', 'short', 'x'.repeat(90_000)]) {
        const answer = await client.post('/current', { json: { text } });
        expect(answer.json).toEqual({ same: true, length: text.length });
      }
      expect((await client.get('/all')).json).toMatchObject({ data: { current: 3 } });
      expect((await client.get('/counted')).json).toEqual({ n: 1 });
    });

    it('never mixes up requests that run at the same time', async () => {
      const running = await start();
      const clients = Array.from({ length: 30 }, () => browse(running));
      for (let round = 0; round < 5; round++) {
        const body = { json: { text: 'x'.repeat(round * 20_000) } };
        await Promise.all(clients.map((client) => client.post('/current', body)));
      }
      const seen = await Promise.all(clients.map((client) => client.get('/all')));
      expect(seen.map(({ json }) => json.data)).toEqual(clients.map(() => ({ current: 5 })));
    });

    byHandle('data found by handle', () => {
      it('works outside of requests', async () => {
        const { app } = await start({ session: { redis: server.connection() } });
        const sessions = app.get(SessionService);
        expect(sessions.current()).toBeUndefined();
        expect(await sessions.count()).toBe(0);

        const made = await sessions.create({
          principal: 'alice',
          roles: ['customer'],
          data: { colour: 'red' },
        });
        await sessions.create();
        expect(await sessions.count()).toBe(2);

        const found = await sessions.find(made.handle);
        expect(found).toMatchObject({ principal: 'alice', roles: ['customer'], isNew: false });
        expect(found?.get('colour')).toBe('red');
        expect(() => found?.id).toThrow(expect.objectContaining({ code: 'SESSION_UNAVAILABLE' }));
        expect((await sessions.get(made.id))?.handle).toBe(made.handle);

        found?.set('colour', 'blue');
        expect(await found?.save()).toBe(true);
        await Promise.all(
          Array.from({ length: 5 }, () =>
            sessions.update(made.handle, (session) => void session.increment('jobs')),
          ),
        );
        expect((await sessions.find(made.handle))?.data).toEqual({ colour: 'blue', jobs: 5 });
        expect(await sessions.touch(made.handle)).toBe(true);

        expect(await sessions.revoke(made.handle)).toBe(true);
        expect(await sessions.revoke(made.handle)).toBe(false);
        expect(await sessions.touch(made.handle)).toBe(false);
        expect(await sessions.find(made.handle)).toBeUndefined();
        expect(await sessions.get(made.id)).toBeUndefined();
        expect(await sessions.update(made.handle, () => undefined)).toBeUndefined();
        expect(await sessions.count()).toBe(1);
        for (const nonsense of ['', 'x', '*', made.id, '../../x']) {
          expect(await sessions.find(nonsense)).toBeUndefined();
          expect(await sessions.revoke(nonsense)).toBe(false);
          expect(await sessions.touch(nonsense)).toBe(false);
        }
      });
    });

    it('makes sessions that a browser can use, and ends those that one uses', async () => {
      const running = await start({ session: { redis: server.connection() } });
      const sessions = running.app.get(SessionService);
      const made = await sessions.create({ principal: 'alice', data: { colour: 'red' } });
      const client = browse(running);
      client.jar.set('__Host-session', made.id);
      expect((await client.get('/all')).json).toMatchObject({
        principal: 'alice',
        data: { colour: 'red' },
      });
      await sessions.revoke(made.handle);
      expect((await client.get('/all')).json).toEqual({ isNew: true, roles: [], data: {} });
    });
  });

  describe('the module', () => {
    const works = async (client: HttpClient) => {
      await client.post('/set', { json: { colour: 'red' } });
      expect((await client.get('/attribute')).json).toEqual({ colour: 'red' });
    };

    it.each(['before', 'after'])(
      'serves modules that import nothing, imported %s them',
      async (when) => {
        const sessions = SessionModule.forRoot({ redis: server.connection(), secret: SECRET });
        const imports = when === 'before' ? [sessions, FeatureModule] : [FeatureModule, sessions];
        const client = await visit({ session: undefined, imports });
        await works(client);
        expect((await client.get('/feature')).json).toEqual({ colour: 'red', current: 'object' });
      },
    );

    it('serves the whole application from within a feature', async () => {
      @Module({ imports: [SessionModule.forRoot({ redis: server.connection(), secret: SECRET })] })
      class Deep {}
      @Module({ imports: [Deep] })
      class Deeper {}
      const client = await visit({ session: undefined, imports: [FeatureModule, Deeper] });
      await works(client);
      expect((await client.get('/feature')).json).toEqual({ colour: 'red', current: 'object' });
    });

    it('is not global if it is told so', async () => {
      const options = { store: 'memory', isGlobal: false } as const;
      const imports = [SessionModule.forRoot(options), FeatureModule];
      await expect(start({ session: undefined, imports })).rejects.toThrow(/SessionService/);
      await works(await visit({ session: undefined, imports: [SessionModule.forRoot(options)] }));
    });

    @Injectable()
    class OptionsFactory implements SessionModuleOptionsFactory {
      createSessionOptions(): SessionModuleOptions {
        return { redis: server.connection(), secret: SECRET, keyPrefix: 'from-class' };
      }
    }
    @Module({ providers: [OptionsFactory], exports: [OptionsFactory] })
    class OptionsModule {}

    const ASYNC: readonly [string, string, () => DynamicModule][] = [
      [
        'useFactory with imports and inject',
        'from-settings',
        () =>
          SessionModule.forRootAsync({
            imports: [SettingsModule],
            inject: [Settings],
            useFactory: async ({ prefix }: Settings) => {
              await turn();
              return { redis: server.connection(), secret: SECRET, keyPrefix: prefix };
            },
          }),
      ],
      ['useClass', 'from-class', () => SessionModule.forRootAsync({ useClass: OptionsFactory })],
      [
        'useExisting',
        'from-class',
        () => SessionModule.forRootAsync({ imports: [OptionsModule], useExisting: OptionsFactory }),
      ],
    ];
    it.each(ASYNC)('takes its options by %s', async (_, prefix, make) => {
      const client = await visit({ session: undefined, imports: [make(), FeatureModule] });
      await works(client);
      expect((await client.get('/feature')).json).toEqual({ colour: 'red', current: 'object' });
      expect([...(await probe.dump()).keys()][0]).toContain(`{${prefix}:`);
    });

    it('without options keeps sessions in memory, and warns once', async () => {
      const running = await start({ session: {} });
      const client = browse(running);
      await works(client);
      const warnings = running.logger.texts('warn').filter((line) => line.includes('memory'));
      expect(warnings).toHaveLength(1);
      expect(await probe.size()).toBe(0);
    });

    it('that was told to use memory does not warn', async () => {
      const running = await start({ session: { store: 'memory' } });
      await works(browse(running));
      expect(running.logger.texts('warn')).toEqual([]);
    });

    it('does not start with wrong options, and names them all', async () => {
      const wrong = { session: { redis: 'localhost', idleTimeout: '5 minutes', keyprefix: 'x' } };
      const failure = start(wrong as unknown as Partial<TestAppOptions>);
      await expect(failure).rejects.toMatchObject({ code: 'SESSION_OPTIONS_INVALID' });
      await expect(failure).rejects.toThrow(/redis[^]*idleTimeout|idleTimeout[^]*redis/);
      await expect(failure).rejects.toThrow(/keyprefix/);
    });

    it('never closes a client that was handed in, and always its own', async () => {
      const connections = () => probe.connections();
      const client = await clientFor(server);
      const before = await connections();
      const isAsBefore = async () => (await connections()) === before;
      // One to hear of changes; and what was handed in is left to others, with another one like it in its place.
      const [ear, like] = NEAR_CACHE ? [1, 1] : [0, 0];

      const handedIn = await start({ session: { redis: client } });
      await works(browse(handedIn));
      expect(await connections()).toBe(before + ear + like);
      await handedIn.close();
      await until('its own are closed', isAsBefore);
      expect(client.status).toBe('ready');
      expect(await client.ping()).toBe('PONG');

      const own = await start({ session: { redis: server.connection() } });
      await works(browse(own));
      expect(await connections()).toBe(before + 1 + ear);
      await own.close();
      await until('it is closed', isAsBefore);
      client.disconnect();
    });

    it('lives twice in one process, each application with its own sessions', async () => {
      const one = await start({ session: { redis: server.connection(), keyPrefix: 'one' } });
      const two = await start({
        session: {
          redis: server.connection(),
          keyPrefix: 'two',
          cookie: { name: 'two', secure: false },
        },
      });
      const [first, second] = [browse(one), browse(two)];
      await Promise.all([
        first.post('/set', { json: { colour: 'red' } }),
        second.post('/set', { json: { colour: 'blue' } }),
      ]);
      expect((await first.get('/attribute')).json).toEqual({ colour: 'red' });
      expect((await second.get('/attribute')).json).toEqual({ colour: 'blue' });
      expect([...first.jar.keys(), ...second.jar.keys()]).toEqual(['__Host-session', 'two']);
      // The id of one is worth nothing to the other.
      second.jar.set('two', first.jar.get('__Host-session') as string);
      expect((await second.get('/attribute')).json).toEqual({ colour: null });
      expect(await one.app.get(SessionService).count()).toBe(1);
    });

    it("shows no session of another application's request as current", async () => {
      const other = await start({ session: { store: 'memory' } });
      const theirs = other.app.get(SessionService);
      @Controller()
      class Asking {
        @Get('asking') asking(@Session() session: Session) {
          return { mine: session.isNew, theirs: typeof theirs.current() };
        }
      }
      const client = await visit({ controllers: [Asking] });
      expect((await client.get('/asking')).json).toEqual({ mine: true, theirs: 'undefined' });
    });
  });

  describe('routes', () => {
    @Controller('cart')
    class Cart {
      constructor(private readonly sessions: SessionService) {}
      @Get() get() {
        return { current: typeof this.sessions.current() };
      }
      @Post() post() {
        return { current: typeof this.sessions.current() };
      }
      @Get('items/:id') item() {
        return { current: typeof this.sessions.current() };
      }
      @UseGuards(SessionGuard) @Get('guarded') guarded() {
        return {};
      }
    }
    @Controller('health')
    class Health {
      constructor(private readonly sessions: SessionService) {}
      @Get() get(@Req() request: { session?: unknown }) {
        return { current: typeof this.sessions.current(), request: typeof request.session };
      }
    }

    const CASES: readonly [string, SessionModuleOptions, Record<string, 'object' | 'undefined'>][] =
      [
        [
          'forRoutes: a path',
          { forRoutes: ['cart'] },
          { 'GET /cart': 'object', 'POST /cart': 'object', 'GET /health': 'undefined' },
        ],
        [
          'forRoutes: a path with a wildcard',
          { forRoutes: ['cart/*path'] },
          { 'GET /cart/items/1': 'object', 'GET /health': 'undefined' },
        ],
        [
          'forRoutes: a controller',
          { forRoutes: [Cart] },
          { 'GET /cart': 'object', 'GET /cart/items/1': 'object', 'GET /health': 'undefined' },
        ],
        [
          'forRoutes: a route and its method',
          { forRoutes: [{ path: 'cart', method: RequestMethod.POST }] },
          { 'GET /cart': 'undefined', 'POST /cart': 'object', 'GET /health': 'undefined' },
        ],
        [
          'exclude: a path',
          { exclude: ['health'] },
          { 'GET /cart': 'object', 'GET /cart/items/1': 'object', 'GET /health': 'undefined' },
        ],
        [
          'exclude: a route and its method',
          { exclude: [{ path: 'cart', method: RequestMethod.GET }] },
          { 'GET /cart': 'undefined', 'POST /cart': 'object', 'GET /health': 'object' },
        ],
        [
          'both',
          { forRoutes: [Cart], exclude: ['cart/items/:id'] },
          { 'GET /cart': 'object', 'GET /cart/items/1': 'undefined', 'GET /health': 'undefined' },
        ],
      ];

    it.each(CASES)('have a session by %s', async (_, routes, expected) => {
      const client = await visit({
        controllers: [Cart, Health],
        session: { redis: server.connection(), ...routes },
      });
      const seen: Record<string, unknown> = {};
      for (const route of Object.keys(expected)) {
        const [method, path] = route.split(' ') as [string, string];
        seen[route] = (await client.send(method, path)).json.current;
      }
      expect(seen).toEqual(expected);
    });

    it('without a session say so to a guard and to a decorator, and have no req.session', async () => {
      const running = await start({
        controllers: [Cart, Health],
        session: { redis: server.connection(), exclude: ['cart/*path', 'health'] },
      });
      const client = browse(running);
      const guarded = await client.get('/cart/guarded');
      expect(guarded.status).toBe(500);
      expect(guarded.json).toMatchObject({ code: 'SESSION_UNAVAILABLE' });
      expect(running.logger.texts('error').join()).toContain('`forRoutes` and `exclude`');
      expect((await client.get('/health')).json).toEqual({
        current: 'undefined',
        request: 'undefined',
      });
    });

    it('commit and answer by the same rules where Nest chose them', async () => {
      const client = await visit({
        imports: [FeatureModule],
        session: { redis: server.connection(), forRoutes: ['feature', 'login', 'all'] },
      });
      const answer = await client.post('/feature');
      expect(answer.setCookie).toHaveLength(1);
      expect(answer.headers['cache-control']).toBe('no-store');
      expect((await client.get('/feature')).json).toEqual({ colour: 'green', current: 'object' });
      await client.post('/login', { json: { name: 'alice' } });
      expect((await client.get('/all')).json).toMatchObject({ principal: 'alice' });
    });
  });

  it('an outage in an own guard or middleware is 503, not 500 or 401', async () => {
    @Injectable()
    class OwnGuard {
      constructor(private readonly sessions: SessionService) {}
      async canActivate() {
        return (await this.sessions.current()!.load()).principal !== undefined;
      }
    }
    @Controller()
    class Own {
      @UseGuards(OwnGuard) @Get('own') own() {
        return {};
      }
    }
    const redis = await clientFor(server, { retryStrategy: null });
    // With one the application would have made a connection like this one.
    const client = await visit({ controllers: [Own], session: { redis, nearCache: false } });
    redis.disconnect();
    client.jar.set('__Host-session', 'A'.repeat(44));
    const answer = await client.get('/own');
    expect(answer.status).toBe(503);
    expect(answer.json).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    expect(answer.setCookie).toEqual([]);
  });
});
