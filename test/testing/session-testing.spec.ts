import { afterEach, describe, expect, it } from '@jest/globals';
import {
  Controller,
  Get,
  Module,
  Post,
  UseGuards,
  type DynamicModule,
  type INestApplication,
} from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test, type TestingModuleBuilder } from '@nestjs/testing';
import {
  Principal,
  Session,
  SessionGuard,
  SessionModule,
  SessionService,
} from 'nestjs-distributed-session';
import {
  FakeClock,
  SessionTesting,
  SessionTestingModule,
  type SessionTestingModuleOptions,
} from 'nestjs-distributed-session/testing';
import request from 'supertest';
import { ADAPTERS, SECRET, type AdapterName } from '../support/app.js';
import { freePort } from '../support/redis-server.js';

@Controller()
class ShopController {
  @Post('login')
  login(@Session() session: Session) {
    return session.authenticate('bob');
  }

  @UseGuards(SessionGuard)
  @Get('me')
  me(@Principal() principal: string, @Session() session: Session) {
    return { principal, roles: session.roles };
  }

  @Get('color')
  color(@Session('color') color: unknown) {
    return { color: color ?? null };
  }

  @Post('color')
  paint(@Session() session: Session) {
    session.set('color', 'blue');
  }
}

describe('FakeClock', () => {
  it('stands still until it is moved, by a duration or by milliseconds', () => {
    const clock = new FakeClock(1_000);
    expect(clock.now()).toBe(1_000);
    clock.advance('2s');
    clock.advance(500);
    clock.advance(-1);
    expect(clock.now()).toBe(3_499);
    expect(() => clock.advance('soon' as '1s')).toThrow("use a duration such as '30m'");
    expect(clock.now()).toBe(3_499);
  });
});

describe.each(ADAPTERS)('an application in tests, on %s', (adapter) => {
  let app: INestApplication | undefined;

  afterEach(async () => {
    await app?.close();
    app = undefined;
  });

  const http = () => request(app!.getHttpServer());

  async function boot(builder: TestingModuleBuilder): Promise<INestApplication> {
    const compiled = await builder.compile();
    app = compiled.createNestApplication(adapterOf(adapter));
    await app.listen(0, '127.0.0.1');
    return app;
  }

  async function start(options?: SessionTestingModuleOptions): Promise<SessionTesting> {
    const imports: DynamicModule[] = [SessionTestingModule.forRoot(options)];
    const controllers = [ShopController];
    return (await boot(Test.createTestingModule({ imports, controllers }))).get(SessionTesting);
  }

  it.each<[string, SessionTestingModuleOptions | undefined, header: string]>([
    ['the cookie', undefined, 'cookie'],
    ['a cookie of another name', { cookie: { name: 'shop', secure: true } }, 'cookie'],
    ['a signed cookie', { secret: [SECRET, `${SECRET}-old`] }, 'cookie'],
    ['X-Auth-Token', { transport: 'x-auth-token', secret: SECRET }, 'x-auth-token'],
    ['Authorization', { transport: ['authorization', 'cookie'] }, 'authorization'],
  ])('lets a test act as a logged-in user by %s', async (_, options, header) => {
    const testing = await start(options);
    const { headers, session } = await testing.login('alice', {
      roles: ['admin'],
      data: { color: 'red' },
    });
    expect(Object.keys(headers)).toEqual([header]);
    expect(session.principal).toBe('alice');

    const me = await http().get('/me').set(headers).expect(200);
    expect(me.body).toEqual({ principal: 'alice', roles: ['admin'] });
    const color = await http().get('/color').set(headers).expect(200);
    expect(color.body).toEqual({ color: 'red' });
    await http().get('/me').expect(401);

    await http().post('/color').set(headers).expect(201);
    const stored = await app!.get(SessionService).find(session.handle);
    expect(stored?.get('color')).toBe('blue');
  });

  it('lets a test act as a user who is not logged in', async () => {
    const testing = await start();
    const { cookie } = await testing.anonymous({ data: { color: 'red' } });
    const color = await http().get('/color').set('Cookie', cookie).expect(200);
    expect(color.body).toEqual({ color: 'red' });
    await http().get('/me').set('Cookie', cookie).expect(401);
  });

  it('ends sessions when the test lets their time pass, not before', async () => {
    const testing = await start({ idleTimeout: '10m', absoluteTimeout: '25m' });
    const { headers } = await testing.login('alice');
    for (const [pause, status] of [
      ['9m', 200],
      ['9m', 200],
      ['6m', 200],
      ['2m', 401],
    ] as const) {
      testing.advance(pause);
      await http().get('/me').set(headers).expect(status);
    }
    const idle = await testing.login('bob');
    testing.advance('10m');
    await http().get('/me').set(idle.headers).expect(401);
  });

  it('works with clients that keep cookies over plain http', async () => {
    await start();
    const agent = request.agent(app!.getHttpServer());
    await agent.post('/login').expect(201);
    const me = await agent.get('/me').expect(200);
    expect(me.body).toEqual({ principal: 'bob', roles: [] });
  });

  it('says how to let time pass where the clock is not a fake one', async () => {
    const testing = await start({ clock: { now: () => 0 } });
    expect(() => testing.advance('1m')).toThrow('give SessionModule one as `clock`');
  });

  it('takes the place of Redis in a whole application, and keeps its other options', async () => {
    const url = `redis://127.0.0.1:${await freePort()}`;
    @Module({
      imports: [
        SessionModule.forRootAsync({
          useFactory: () => ({ redis: { url }, idleTimeout: '5m', transport: 'x-auth-token' }),
        }),
      ],
      controllers: [ShopController],
    })
    class AppModule {}

    const builder = Test.createTestingModule({ imports: [AppModule] });
    const testing = new SessionTesting(await boot(SessionTestingModule.override(builder)));
    const { headers } = await testing.login('alice');
    expect(Object.keys(headers)).toEqual(['x-auth-token']);
    await http().get('/me').set(headers).expect(200);
    testing.advance('5m');
    await http().get('/me').set(headers).expect(401);
  });
});

function adapterOf(name: AdapterName): ExpressAdapter | FastifyAdapter {
  return name === 'express' ? new ExpressAdapter() : new FastifyAdapter();
}
