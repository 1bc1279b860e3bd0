import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, UseGuards, type INestApplicationContext } from '@nestjs/common';
import { APP_GUARD, NestFactory } from '@nestjs/core';
import {
  ClientProxyFactory,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  Transport,
  type ClientProxy,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import {
  AllowAnonymous,
  getSessionServiceToken,
  MemorySessionStore,
  Principal,
  RequireRole,
  RequireSession,
  Session,
  SessionCsrfGuard,
  SessionForbiddenError,
  SessionGuard,
  sessionReferenceOf,
  SessionModule,
  SessionService,
  type SessionModuleOptions,
  UseSession,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { firstValueFrom, lastValueFrom, Observable, toArray } from 'rxjs';
import { systemClock } from '../../lib/core/clock.js';
import { handleOf } from '../../lib/core/session-id.js';
import { ADAPTERS, SECRET, startApp, TestLogger, until } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { startRedis } from '../support/redis-under-test.js';
import { ask } from './gql-client.js';
import { graphql, ShopResolver, Ticker } from './shop.js';

const heard: unknown[] = [];

@Controller()
class Orders {
  constructor(private readonly sessions: SessionService) {}

  @RequireSession()
  @MessagePattern('me')
  me(@Principal() principal: string) {
    return principal;
  }

  @MessagePattern('who')
  who(@Principal() principal?: string) {
    return principal ?? 'nobody';
  }

  @RequireRole('admin')
  @MessagePattern('audit')
  audit() {
    return 'nothing happened';
  }

  @MessagePattern('read')
  read(@Session('basket') basket: unknown) {
    return { basket };
  }

  @MessagePattern('add')
  add(@Session() session: Session, @Payload('item') item: string) {
    session.update('basket', (basket) => [...((basket as string[] | undefined) ?? []), item]);
    return session.get('basket');
  }

  @MessagePattern('add-and-fail')
  addAndFail(@Session() session: Session) {
    session.increment('failed');
    throw new SessionForbiddenError('afterwards');
  }

  @MessagePattern('stream')
  stream(@Session() session: Session) {
    return new Observable<number>((to) => {
      for (const n of [1, 2, 3]) to.next(session.increment('streamed') * n);
      session.set('done', true);
      to.complete();
    });
  }

  @MessagePattern('current')
  current() {
    return this.sessions.current()?.principal ?? 'nobody';
  }

  @MessagePattern('id')
  async newId(@Session() session: Session, @Payload('how') how: 'authenticate' | 'regenerate') {
    await (how === 'authenticate' ? session.authenticate('eve') : session.regenerate());
  }

  @MessagePattern('end')
  async end(@Session() session: Session) {
    await session.destroy();
    return true;
  }

  @RequireSession()
  @EventPattern('seen')
  seen(@Session() session: Session) {
    session.set('seen', true);
    heard.push(session.principal);
  }

  @UseSession('admin')
  @RequireSession()
  @MessagePattern('staff')
  staff(@Principal() principal: string) {
    return principal;
  }

  @MessagePattern('boom')
  boom() {
    throw new Error('not for callers');
  }
}

/** For what a microservice of its own does not show. */
@Controller()
class Guarded {
  @UseGuards(SessionGuard)
  @MessagePattern('guarded')
  guarded() {
    return true;
  }

  @UseGuards(SessionGuard)
  @MessagePattern('guarded-session')
  guardedSession(@Session() session: Session) {
    return session.principal;
  }

  @MessagePattern('unguarded')
  unguarded(@Principal() principal?: string) {
    return principal;
  }
}

@Controller()
class Relay {
  @AllowAnonymous()
  @MessagePattern('reference')
  reference(@Ctx() context: object, @Payload() payload: object) {
    const host = { getArgs: () => [payload, context] };
    return sessionReferenceOf(host as never) ?? 'none';
  }
}

describe('a microservice', () => {
  const closing: (() => unknown)[] = [];
  afterEach(async () => {
    heard.length = 0;
    for (const close of closing.splice(0).reverse()) await close();
  });

  interface Service {
    readonly app: INestApplicationContext;
    readonly client: ClientProxy;
    readonly sessions: SessionService;
    readonly logger: TestLogger;
    call<T = unknown>(pattern: string, payload?: object): Promise<T>;
  }

  const serve = async (
    session: SessionModuleOptions = {},
    options?: { redis: string },
  ): Promise<Service> => {
    const logger = new TestLogger();
    const transport = options ? redisAt(options.redis) : await freeTcp();
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(
      {
        module: class Services {},
        imports: [
          SessionModule.forRoot({ store: 'memory', secret: SECRET, ...session }),
          SessionModule.forFeature('admin'),
        ],
        controllers: [Orders, Relay],
        providers: [{ provide: APP_GUARD, useClass: SessionCsrfGuard }],
      },
      { ...transport, logger, abortOnError: false },
    );
    await app.listen();
    closing.push(() => app.close());
    return { ...connect(transport), app, sessions: app.get(SessionService), logger };
  };

  const connect = (transport: ReturnType<typeof redisAt> | FreeTcp) => {
    const client: ClientProxy = ClientProxyFactory.create(transport);
    closing.push(() => client.close());
    const call = async <T>(pattern: string, payload: object = {}) =>
      (await lastValueFrom(client.send<T>(pattern, payload))) as T;
    return { client, call };
  };

  const begin = async ({ sessions }: { sessions: SessionService }, principal = 'alice') => {
    const session = await sessions.create({ principal, roles: [], data: { basket: ['tea'] } });
    return { handle: session.handle, id: session.id, session: sessions.referenceOf(session) };
  };

  const refusal = (code: string) => ({ status: 'error', code, message: expect.any(String) });

  it('has the session that a message names, in guards, decorators and the service', async () => {
    const service = await serve();
    const { session } = await begin(service);
    expect(await service.call('me', { session })).toBe('alice');
    expect(await service.call('who', { session })).toBe('alice');
    expect(await service.call('current', { session })).toBe('alice');
    expect(await service.call('read', { session })).toEqual({ basket: ['tea'] });
    expect(await service.call('who')).toBe('nobody');
    expect(await service.call('reference', { session })).toBe(session);
    expect(await service.call('reference')).toBe('none');
  });

  it('tells its callers why they are refused, and logs it as no error', async () => {
    const service = await serve();
    const { session } = await begin(service);
    await expect(service.call('me')).rejects.toEqual(refusal('SESSION_REQUIRED'));
    await expect(service.call('audit')).rejects.toEqual(refusal('SESSION_REQUIRED'));
    await expect(service.call('audit', { session })).rejects.toEqual(refusal('SESSION_FORBIDDEN'));
    await expect(service.call('add-and-fail', { session })).rejects.toEqual({
      ...refusal('SESSION_FORBIDDEN'),
      message: 'afterwards',
    });
    expect(service.logger.texts('error')).toEqual([]);
    await expect(service.call('boom', { session })).rejects.toEqual({
      status: 'error',
      message: 'Internal server error',
    });
  });

  it('saves what a handler changes before it answers, also if it fails', async () => {
    const service = await serve();
    const { session, handle } = await begin(service);
    const stored = async () => (await service.sessions.find(handle))?.data;
    expect(await service.call('add', { session, item: 'cake' })).toEqual(['tea', 'cake']);
    expect(await stored()).toMatchObject({ basket: ['tea', 'cake'] });
    await expect(service.call('add-and-fail', { session })).rejects.toBeDefined();
    expect(await stored()).toMatchObject({ failed: 1 });
    const all = service.client.send<number>('stream', { session }).pipe(toArray());
    expect(await lastValueFrom(all)).toEqual([1, 4, 9]);
    expect(await stored()).toMatchObject({ streamed: 3, done: true });
    await lastValueFrom(service.client.emit('seen', { session }));
    await until('the event', () => heard.length > 0);
    expect(heard).toEqual(['alice']);
    await until('it is stored', async () => (await stored())?.seen === true);
  });

  it('does not answer before that is stored', async () => {
    const service = await serve({ store: new SlowStore(systemClock) });
    const { session, handle } = await begin(service);
    const stored = async () => (await service.sessions.find(handle))?.data;
    await firstValueFrom(service.client.send<number>('stream', { session }));
    expect((await stored())?.streamed).toBeGreaterThan(0);
    await service.call('add', { session, item: 'cake' });
    expect((await stored())?.basket).toEqual(['tea', 'cake']);
  });

  it('refuses an event that names no session', async () => {
    const service = await serve();
    await lastValueFrom(service.client.emit('seen', {}));
    await service.call('who');
    expect(heard).toEqual([]);
  });

  it('gives no new id, and begins no session', async () => {
    const service = await serve();
    const { session } = await begin(service);
    // What is wrong with the service itself stands in its log.
    const refused = { ...refusal('SESSION_UNAVAILABLE'), message: 'Internal server error' };
    for (const how of ['authenticate', 'regenerate']) {
      await expect(service.call('id', { session, how })).rejects.toEqual(refused);
      await expect(service.call('id', { how })).rejects.toEqual(refused);
    }
    await expect(service.call('add', { item: 'cake' })).rejects.toEqual(refused);
    expect(await service.sessions.count()).toBe(1);
    const told = service.logger.texts('error');
    expect(told).toHaveLength(5);
    for (const text of told) expect(text).toMatch('only a request of its client can');
  });

  it('ends a session', async () => {
    const service = await serve();
    const { session, handle } = await begin(service);
    expect(await service.call('end', { session })).toBe(true);
    expect(await service.sessions.find(handle)).toBeUndefined();
    await expect(service.call('me', { session })).rejects.toEqual(refusal('SESSION_REQUIRED'));
  });

  it('is no activity of its user', async () => {
    const clock = new FakeClock();
    const service = await serve({ clock, idleTimeout: '30m' });
    const { session } = await begin(service);
    clock.advance(20 * 60_000);
    expect(await service.call('add', { session, item: 'cake' })).toHaveLength(2);
    clock.advance(20 * 60_000);
    expect(await service.call('who', { session })).toBe('nobody');
  });

  describe('believes a reference only', () => {
    it('if somebody with the secret has made it', async () => {
      const rejected: unknown[] = [];
      const service = await serve({ onRejected: ({ reason }) => rejected.push(reason) });
      const { session, handle, id } = await begin(service);
      const [, mark, proof] = session.split('.') as [string, string, string];
      const other = await begin(service, 'bob');
      const [, otherMark, otherProof] = other.session.split('.') as [string, string, string];
      const forged = [
        handle,
        id,
        service.sessions.tokenOf((await service.sessions.get(id))!),
        `${handle}.${mark}`,
        `${handle}.${mark}.`,
        `${handle}.${mark}.${proof}x`,
        `${handle}.${mark}.${proof.slice(0, -1)}${proof.endsWith('A') ? 'B' : 'A'}`,
        `${handle}.${otherMark}.${proof}`,
        `${handle}.${mark}.${otherProof}`,
        `${other.handle}.${mark}.${proof}`,
        ` ${session}`,
        `${session}\n`,
        'x'.repeat(100_000),
      ];
      for (const one of forged) {
        expect([one, await service.call('who', { session: one })]).toEqual([one, 'nobody']);
      }
      expect(rejected).toEqual(forged.map(() => 'malformed'));
      for (const one of [1, true, null, {}, [], [session, session]]) {
        expect(await service.call('who', { session: one })).toBe('nobody');
      }
      expect(await service.call('who', { session })).toBe('alice');
    });

    it('of secrets on their way in and out', async () => {
      const store = new MemorySessionStore(systemClock);
      const { session } = await begin(await serve({ store }));
      const next = `next-${SECRET}`;
      const readBy = async (secret: string | string[]) =>
        (await serve({ store, secret })).call('who', { session });
      expect(await readBy([next, SECRET])).toBe('alice');
      expect(await readBy([next])).toBe('nobody');
    });

    it('for sessions of the same name', async () => {
      const service = await serve();
      const staff = service.app.get<SessionService>(getSessionServiceToken('admin'));
      const { session } = await begin(service);
      const admin = await begin({ sessions: staff }, 'bob');
      expect(await service.call('staff', admin)).toBe('bob');
      await expect(service.call('staff', { session })).rejects.toEqual(refusal('SESSION_REQUIRED'));
      expect(await service.call('who', admin)).toBe('nobody');
    });

    it('as its handle, where there is no secret', async () => {
      const service = await serve({ secret: undefined });
      const { session, handle } = await begin(service);
      expect(session).toBe(handle);
      expect(await service.call('who', { session })).toBe('alice');
      expect(await service.call('who', { session: handleOf('x'.repeat(44)) })).toBe('nobody');
    });
  });

  it('a reference is no token of a client', async () => {
    const service = await serve();
    const { session } = await begin(service);
    expect(await service.sessions.get(session)).toBeUndefined();
    expect(await service.sessions.find(session)).toBeUndefined();
  });

  it('what is not stored yet cannot be referred to', async () => {
    const { sessions } = await serve();
    const session = (await sessions.get((await sessions.create()).id))!;
    expect(sessions.referenceOf(session)).toMatch(/^\w\w[\w-]{43}\./);
    await session.authenticate('alice');
    expect(() => sessions.referenceOf(session)).toThrow('`await session.save()`');
    await session.save();
    expect(sessions.referenceOf(session)).toMatch(/^\w\w[\w-]{43}\./);
  });

  it.each([{}, { encryption: { keys: SECRET } }])(
    'goes on with a session that gets a new id meanwhile, not with another one, %j',
    async (options) => {
      const rejected: unknown[] = [];
      const service = await serve({
        ...options,
        onRejected: ({ reason }) => rejected.push(reason),
      });
      const { session, id } = await begin(service);
      const live = (await service.sessions.get(id))!;
      await live.regenerate();
      await live.save();
      expect(await service.call('who', { session })).toBe('alice');
      await live.elevate('otp');
      await live.save();
      expect(await service.call('add', { session, item: 'cake' })).toEqual(['tea', 'cake']);
      await live.switchPrincipal('carol');
      await live.save();
      expect(await service.call('who', { session })).toBe('nobody');
      expect(rejected).toEqual([]);
    },
  );

  it('of nobody does not become the one of who logs in', async () => {
    const service = await serve();
    const anonymous = await service.sessions.create({ data: { basket: ['tea'] } });
    const session = service.sessions.referenceOf(anonymous);
    expect(await service.call('read', { session })).toEqual({ basket: ['tea'] });
    const live = (await service.sessions.get(anonymous.id))!;
    await live.authenticate('alice');
    await live.save();
    expect(await service.call('who', { session })).toBe('nobody');
  });

  it('without a secret nobody vouches for where an encrypted session went', async () => {
    const service = await serve({ secret: undefined, encryption: { keys: SECRET } });
    const { session, id } = await begin(service);
    const live = (await service.sessions.get(id))!;
    await live.regenerate();
    await live.save();
    expect(await service.call('who', { session })).toBe('nobody');
    expect(await service.call('who', { session: live.handle })).toBe('alice');
  });

  it('knows whose a session is where only its id opens what is in it', async () => {
    const service = await serve({ encryption: { keys: SECRET, mode: 'store-blind' } });
    const { session, handle, id } = await begin(service);
    expect(await service.call('me', { session })).toBe('alice');
    const locked = { ...refusal('SESSION_UNAVAILABLE'), message: 'Internal server error' };
    expect(heldBack(await service.sessions.find(handle))).toBe('SESSION_UNAVAILABLE');
    await expect(service.call('read', { session })).rejects.toEqual(locked);
    await expect(service.call('add', { session, item: 'x' })).rejects.toEqual(locked);
    expect((await service.sessions.get(id))?.data).toEqual({ basket: ['tea'] });
    expect(await service.call('end', { session })).toBe(true);
  });

  it('hears over Redis what another application says, of sessions that both have', async () => {
    const redis = await startRedis();
    closing.push(() => redis.stop());
    const { url } = redis.servers[0]!;
    const service = await serve({ store: undefined, redis: url }, { redis: url });
    const { session } = await begin(service);
    expect(await service.call('me', { session })).toBe('alice');
    expect(await service.call('add', { session, item: 'cake' })).toEqual(['tea', 'cake']);
    await expect(service.call('me')).rejects.toEqual(refusal('SESSION_REQUIRED'));
  });

  describe.each(ADAPTERS)('beside HTTP on %s', (adapter) => {
    const startBoth = async (inheritAppConfig: boolean) => {
      const transport = await freeTcp();
      const app = await startApp({
        adapter,
        session: { store: 'memory', secret: SECRET },
        imports: [graphql(), SessionModule.forFeature('admin')],
        controllers: [Orders, Guarded],
        providers: [ShopResolver, Ticker],
        setup: async (nest) => {
          nest.connectMicroservice<MicroserviceOptions>(transport, { inheritAppConfig });
          await nest.startAllMicroservices();
        },
      });
      closing.push(() => app.close());
      return { app, sessions: app.app.get(SessionService), ...connect(transport) };
    };

    it('has the same sessions', async () => {
      const { app, sessions, call } = await startBoth(true);
      const client = new HttpClient(app.port);
      closing.push(() => client.close());
      await ask(client, 'mutation { login(name: "alice") }');
      const [{ handle } = { handle: '' }] = await sessions.forPrincipal('alice').list();
      const session = sessions.referenceOf((await sessions.find(handle))!);
      expect(await call('me', { session })).toBe('alice');
      expect(await call('add', { session, item: 'cake' })).toEqual(['cake']);
      expect(await call('guarded-session', { session })).toBe('alice');
      await expect(call('me')).rejects.toEqual(refusal('SESSION_REQUIRED'));
    });

    it('loses nothing silently where it does not inherit what the application has', async () => {
      const { app, sessions, call } = await startBoth(false);
      const { session } = await begin({ sessions });
      expect(await call('guarded', { session })).toBe(true);
      for (const pattern of ['guarded', 'guarded-session', 'unguarded']) {
        await expect(call(pattern, pattern === 'guarded' ? {} : { session })).rejects.toEqual({
          status: 'error',
          message: 'Internal server error',
        });
      }
      const told = app.logger.texts('error').join('\n');
      expect(told).toMatch('SessionRequiredError');
      expect(told.match(/inheritAppConfig: true/g)?.length).toBeGreaterThanOrEqual(2);
    });
  });

  /** What a session does not show of itself, by the code of the error. */
  function heldBack(session: Session | undefined): unknown {
    try {
      return session?.data;
    } catch (error) {
      return (error as { code?: string }).code;
    }
  }
});

/** Takes its time for what is changed. */
class SlowStore extends MemorySessionStore {
  override async save(...args: Parameters<MemorySessionStore['save']>) {
    await delay(50);
    return super.save(...args);
  }
}

describe('a reference is found', () => {
  const reference = 'reference';
  const bytes = Buffer.from(reference);
  const headers = { get: (name: string) => (name === 'session' ? reference : '') };

  it.each<[string, payload: unknown, context: object | undefined]>([
    ['in the metadata of TCP and Redis', {}, { getMetadata: () => ({ session: reference }) }],
    ['in the headers of NATS', {}, { getHeaders: () => headers }],
    ['in the headers of Kafka', {}, { getMessage: () => ({ headers: { session: bytes } }) }],
    [
      'in the headers of RabbitMQ',
      {},
      { getMessage: () => ({ properties: { headers: { session: reference } } }) },
    ],
    [
      'in the user properties of MQTT',
      {},
      { getPacket: () => ({ properties: { userProperties: { session: reference } } }) },
    ],
    ['in the metadata of gRPC', {}, { getMap: () => ({ session: reference }) }],
    ['in the payload', { session: reference }, undefined],
    ['in the payload beside a context that has none', { session: reference }, { getHeaders() {} }],
    [
      'in the metadata first',
      { session: 'another' },
      { getMetadata: () => ({ session: reference }) },
    ],
  ])('%s', (_, payload, context) => {
    const host = { getArgs: () => [payload, context] };
    expect(sessionReferenceOf(host as never)).toBe(reference);
  });

  it.each<[unknown, object | undefined]>([
    ['session', undefined],
    [null, undefined],
    [undefined, undefined],
    [{ session: '' }, undefined],
    [{ session: ['a', 'b'] }, undefined],
    [Object.create({ session: reference }), undefined],
    [{}, { getMessage: () => undefined, getPacket: () => undefined }],
  ])('nowhere else: %j', (payload, context) => {
    const host = { getArgs: () => [payload, context] };
    expect(sessionReferenceOf(host as never)).toBeUndefined();
  });
});

type FreeTcp = Awaited<ReturnType<typeof freeTcp>>;

async function freeTcp() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return { transport: Transport.TCP as const, options: { host: '127.0.0.1', port } };
}

function redisAt(url: string) {
  const { hostname: host, port } = new URL(url);
  return { transport: Transport.REDIS as const, options: { host, port: Number(port) } };
}
