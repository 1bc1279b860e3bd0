import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  Catch,
  Controller,
  Get,
  HttpException,
  Module,
  Post,
  Res,
  Sse,
  UseGuards,
  type ArgumentsHost,
  type ExceptionFilter,
} from '@nestjs/common';
import { APP_FILTER, NestFactory } from '@nestjs/core';
import type { Response } from 'express';
import type { FastifyReply } from 'fastify';
import { setTimeout as delay } from 'node:timers/promises';
import { of } from 'rxjs';
import { Session, SessionGuard, SessionModule, SessionService } from 'nestjs-distributed-session';
import { ADAPTERS, startApp, TestLogger, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

type Reply = Response | FastifyReply;

@Controller()
class EdgesController {
  @Get('twice') twice(@Session() session: Session, @Res() reply: Reply): void {
    session.increment('n');
    reply.send({ first: true });
    try {
      reply
        .status(500)
        .send({ second: 'and a longer one, so that its length would frame the first' });
    } catch {
      // As without a session: the handler is told that it has answered already.
    }
  }

  @Sse('late') async late(@Session() session: Session) {
    await delay(30);
    session.increment('late');
    return of({ data: 'one' });
  }

  @Post('login-then-too-large') async login(@Session() session: Session): Promise<void> {
    await session.authenticate('alice');
    await session.save();
    session.set('big', 'x'.repeat(70_000));
  }

  @Post('cart') async cart(@Session() session: Session) {
    const basket: string[] = [];
    session.set('basket', basket);
    await session.save();
    basket.push('tea');
  }

  @Post('login') async plainLogin(@Session() session: Session): Promise<void> {
    await session.authenticate('alice');
  }

  @Get('read') read(@Session() session: Session) {
    return { data: session.data, principal: session.principal };
  }

  @UseGuards(SessionGuard) @Get('me') me(): void {}
}

@Catch(HttpException)
class OwnFilter implements ExceptionFilter {
  catch(error: HttpException, host: ArgumentsHost): void {
    const body = { own: true, status: error.getStatus() };
    host.switchToHttp().getResponse<Reply>().status(error.getStatus()).send(body);
  }
}

describe.each(ADAPTERS)('on %s', (adapter) => {
  let redis: RedisUnderTest;
  let server: TestApp;

  beforeAll(async () => {
    redis = await startRedis();
    server = await startApp({
      adapter,
      session: { redis: redis.connection(), cookie: { secure: false }, regenerateGrace: 0 },
      controllers: [EdgesController],
      providers: [{ provide: APP_FILTER, useClass: OwnFilter }],
    });
  });

  afterAll(async () => {
    await server.close();
    await redis.stop();
  });

  const browser = () => new HttpClient(server.port);

  it('a second answer changes nothing of the first, nor of what follows on the connection', async () => {
    const client = browser();
    const answer = await client.get('/twice');
    expect([answer.status, answer.json]).toEqual([200, { first: true }]);
    expect((await client.get('/read')).json).toMatchObject({ data: { n: 1 } });
    client.close();
  });

  it('an event stream whose handler takes its time is stored before its headers leave', async () => {
    const client = browser();
    const answer = await client.get('/late');
    expect(answer.text).toContain('data: one');
    expect(answer.setCookie).toHaveLength(1);
    expect((await client.get('/read')).json).toMatchObject({ data: { late: 1 } });
    client.close();
  });

  it('what was saved before a failure reaches its client', async () => {
    const client = browser();
    await client.post('/cart');
    const answer = await client.post('/login-then-too-large');
    expect(answer.status).toBe(413);
    expect((await client.get('/read')).json).toMatchObject({ principal: 'alice' });
    client.close();
  });

  it('a value that is changed after it was set and saved is stored', async () => {
    const client = browser();
    await client.post('/cart');
    expect((await client.get('/read')).json).toMatchObject({ data: { basket: ['tea'] } });
    client.close();
  });

  it('a login over a session works without any grace for the old id', async () => {
    const client = browser();
    await client.post('/cart');
    expect((await client.post('/login')).status).toBe(201);
    expect((await client.get('/read')).json).toMatchObject({ principal: 'alice' });
    client.close();
  });

  it("an application's own filter shapes what a guard refuses", async () => {
    const client = browser();
    const answer = await client.get('/me');
    expect([answer.status, answer.json]).toEqual([401, { own: true, status: 401 }]);
    client.close();
  });

  it('the token of a session made outside of requests opens it', async () => {
    const sessions = server.app.get(SessionService);
    const session = await sessions.create({ principal: 'bob', data: { n: 7 } });
    const client = new HttpClient(server.port, [['session', sessions.tokenOf(session)]]);
    expect((await client.get('/read')).json).toEqual({ data: { n: 7 }, principal: 'bob' });
    client.close();
  });
});

describe('booting', () => {
  const boot = async (module: object): Promise<void> => {
    const options = { logger: new TestLogger(), abortOnError: false };
    const app = await NestFactory.create(module as never, options);
    try {
      await app.init();
    } finally {
      await app.close();
    }
  };

  it('refuses a second module with options', async () => {
    class Twice {}
    Module({ imports: [SessionModule.forRoot({ store: 'memory' })] })(Twice);
    class App {}
    Module({ imports: [SessionModule.forRoot({ store: 'memory', keyPrefix: 'x' }), Twice] })(App);
    await expect(boot(App)).rejects.toThrow('call forRoot or forRootAsync in one place');
  });

  it('says what a factory must return, and that one is needed', async () => {
    class App {}
    const useFactory = (): never => null as never;
    Module({ imports: [SessionModule.forRootAsync({ useFactory })] })(App);
    await expect(boot(App)).rejects.toThrow('return one from an asynchronous factory');
    expect(() => SessionModule.forRootAsync({})).toThrow('useFactory, useClass or useExisting');
  });
});
