import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Post, Req, Res } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import express from 'express';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { inspect } from 'node:util';
import { Session, SessionModule, SessionService } from 'nestjs-distributed-session';
import {
  ADAPTERS,
  asInThisRun,
  startApp,
  TestLogger,
  type TestApp,
  type TestAppOptions,
} from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { RedisGates } from '../support/redis-gates.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

// What else has a hand in the response: other Express applications, wrappers, frameworks' prototypes.

let server: RedisUnderTest;
let gate: RedisGates;
let running: TestApp | undefined;

beforeEach(async () => {
  server = await startRedis();
  gate = await RedisGates.start(server);
});

afterEach(async () => {
  await running?.close();
  running = undefined;
  await gate.stop();
  await server.stop();
});

type Raw = { raw?: ServerResponse };
const rawOf = (response: unknown) => ((response as Raw).raw ?? response) as ServerResponse;

@Controller()
class Visits {
  @Get('visits') visits(@Session('visits') visits: number | undefined) {
    return { visits: visits ?? 0 };
  }

  @Post('visit') visit(@Session() session: Session) {
    return { visits: session.increment('visits') };
  }

  @Post('raw') raw(@Session() session: Session, @Res() response: unknown) {
    session.increment('visits');
    rawOf(response).end('raw');
  }

  @Post('mixed') mixed(@Session() session: Session, @Res() response: unknown) {
    const data = session.data as { visits: number };
    data.visits = 2;
    void session.save();
    data.visits = 1;
    rawOf(response).end('mixed');
  }

  @Get('shown') shown(@Session() session: Session, @Req() request: { raw?: object }) {
    const raw = (request.raw ?? request) as IncomingMessage;
    return { id: session.id, shown: inspect(raw, { depth: 8, showHidden: true }) };
  }

  @Get('response') response(@Session('visits') _: unknown, @Res() response: unknown) {
    const raw = rawOf(response);
    raw.end(inspect(raw, { depth: 8, showHidden: true }).includes('SessionManager') ? 'leaks' : '');
  }
}

async function start(
  options: Omit<TestAppOptions, 'controllers' | 'session'>,
): Promise<HttpClient> {
  running = await startApp({
    ...options,
    controllers: [Visits],
    session: { redis: gate.connection, cookie: { secure: false, name: 'sid' } },
  });
  return new HttpClient(running.port);
}

describe('on Express', () => {
  it('commits what another Express application answers that Nest hands the request to', async () => {
    const other = express();
    other.use((_request, response) => void response.json({ other: true }));
    const visit = (request: { session?: object }, _response: unknown, next: () => void) => {
      Object.assign(request.session as object, { visits: 1 });
      next();
    };
    const client = await start({
      adapter: 'express',
      configure: (consumer) => void consumer.apply(visit, other).forRoutes('other'),
    });
    const answer = await client.get('/other');
    expect(answer.json).toEqual({ other: true });
    expect(answer.setCookie).toHaveLength(1);
    expect((await client.get('/visits')).json).toEqual({ visits: 1 });
  });

  it('goes on when another Express application hands the request back', async () => {
    const other = express();
    other.use((_request, _response, next) => next());
    const client = await start({
      adapter: 'express',
      configure: (consumer) => void consumer.apply(other).forRoutes('*path'),
    });
    await client.post('/visit');
    expect((await client.get('/visits')).json).toEqual({ visits: 1 });
  });

  it('answers a failed commit although a wrapper of `end` has ended already', async () => {
    const client = await start({
      adapter: 'express',
      setup: (app) => void app.use(endsOnce),
    });
    await client.post('/visit');
    gate.cut(/evalsha/i);
    const answer = await client.post('/visit');
    expect(answer.status).toBe(503);
    expect(answer.json).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    gate.release();
  });
});

/** As compression does: what comes after the first `end` is not for it. */
function endsOnce(_request: unknown, response: ServerResponse, next: () => void): void {
  const end = response.end.bind(response) as (...args: unknown[]) => ServerResponse;
  let ended = false;
  response.end = ((...args: unknown[]) => {
    if (ended) return response;
    ended = true;
    return end(...args);
  }) as ServerResponse['end'];
  next();
}

describe.each(ADAPTERS)('on %s', (adapter) => {
  it('commits although the response was wrapped before the application got it', async () => {
    const client = await start({ adapter });
    const http = running!.app.getHttpServer() as import('node:http').Server;
    http.prependListener('request', (_request: unknown, response: ServerResponse) => {
      const end = response.end.bind(response) as (...args: unknown[]) => ServerResponse;
      response.end = ((...args: unknown[]) => end(...args)) as ServerResponse['end'];
    });
    expect((await client.post('/raw')).text).toBe('raw');
    await client.post('/visit');
    expect((await client.get('/visits')).json).toEqual({ visits: 2 });
  });

  it('waits for a save that is under way, and writes what was changed back meanwhile', async () => {
    const client = await start({ adapter });
    await client.post('/visit');
    expect((await client.post('/mixed')).text).toBe('mixed');
    expect((await client.get('/visits')).json).toEqual({ visits: 1 });
  });

  it('shows nothing of the session in a request or a response that somebody prints', async () => {
    const client = await start({ adapter });
    await client.post('/visit');
    const { id, shown } = (await client.get('/shown')).json as { id: string; shown: string };
    // What the client itself has sent is in the headers of its request, and nowhere else.
    expect(shown.split(id)).toHaveLength(shown.split('sid=').length);
    expect(shown).not.toContain('SessionManager');
    expect((await client.get('/response')).text).toBe('');
  });
});

it('gives sessions to an application context without HTTP', async () => {
  class Worker {}
  const logger = new TestLogger();
  const imports = [SessionModule.forRoot(asInThisRun({ redis: gate.connection }))];
  const app = await NestFactory.createApplicationContext(
    { module: Worker, imports },
    { logger, abortOnError: false },
  );
  const sessions = app.get(SessionService);
  const { handle } = await sessions.create({ principal: 'alice' });
  expect((await sessions.find(handle))?.principal).toBe('alice');
  await app.close();
  expect(logger.texts('error')).toEqual([]);
});
