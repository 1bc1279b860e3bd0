import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, HttpCode, Post, Redirect, Sse, UseGuards } from '@nestjs/common';
import { Redis } from 'ioredis';
import { of } from 'rxjs';
import {
  PassiveSession,
  Session,
  SessionGuard,
  SessionService,
  SessionStoreUnavailableError,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { ADAPTERS, SECRET, startApp, TestLogger, until, type TestApp } from '../support/app.js';
import { HttpClient, type Answer } from '../support/http-client.js';
import { freePort, RedisServer } from '../support/redis-server.js';
import { atMost } from '../support/fault-record.js';

// An unhandled rejection or an uncaught error in any of these tests fails it: Jest listens for both.

@Controller()
class Shop {
  constructor(private readonly sessions: SessionService) {}

  @Get('ping') ping() {
    return { ok: true };
  }

  @Get('read') read(@Session('n') n: unknown) {
    return { n: n ?? null };
  }

  @PassiveSession() @Get('poll') poll(@Session('n') n: unknown) {
    return { n: n ?? null };
  }

  @Post('write') write(@Session() session: Session) {
    return { n: session.increment('n') };
  }

  @Post('save') async save(@Session() session: Session) {
    session.increment('n');
    await session.save();
    return { n: session.get('n') };
  }

  @UseGuards(SessionGuard) @Get('me') me() {
    return { me: true };
  }

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('alice');
    return {};
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @Post('renew') async renew(@Session() session: Session) {
    await session.regenerate();
    return {};
  }

  @Get('redirect') @Redirect('/elsewhere') redirect(@Session() session: Session) {
    session.increment('n');
  }

  @Sse('sse') sse(@Session() session: Session) {
    session.increment('n');
    return of({ data: 'x' });
  }

  @Get('count') async count() {
    return { count: await this.sessions.count() };
  }
}

/** Every route whose answer needs the store, with the cookie of a session that exists. */
const ROUTES: readonly [string, string][] = [
  ['GET', '/read'],
  ['GET', '/poll'],
  ['GET', '/me'],
  ['GET', '/redirect'],
  ['GET', '/sse'],
  ['GET', '/count'],
  ['POST', '/write'],
  ['POST', '/save'],
  ['POST', '/login'],
  ['POST', '/logout'],
  ['POST', '/renew'],
];
/** Those that need it although no cookie came. */
const ROUTES_OF_STRANGERS: readonly [string, string][] = [
  ['POST', '/write'],
  ['POST', '/save'],
  ['POST', '/login'],
  ['GET', '/redirect'],
  ['GET', '/sse'],
];

describe.each(ADAPTERS)('an outage of Redis, on %s', (adapter) => {
  let server: RedisServer;
  let running: TestApp | undefined;
  let client: HttpClient;
  let logger: TestLogger;
  let ownClient: Redis | undefined;

  const boot = async (redis: SessionModuleOptions['redis'], more: SessionModuleOptions = {}) => {
    const session = { redis, secret: SECRET, ...more };
    running = await startApp({ adapter, controllers: [Shop], session, logger });
    client = new HttpClient(running.port);
    return client;
  };

  /** An ioredis client as applications make them: without deadlines, patient for a minute. */
  const defaultClient = () => {
    ownClient = new Redis(server.port, '127.0.0.1');
    ownClient.on('error', () => undefined);
    return ownClient;
  };

  interface Timed {
    readonly route: string;
    readonly answer: Answer;
    readonly ms: number;
  }

  const timed = async (user: HttpClient, method: string, path: string): Promise<Timed> => {
    const start = performance.now();
    const answer = await user.send(method, path);
    return { route: `${method} ${path}`, answer, ms: performance.now() - start };
  };

  const expectUnavailable = (all: readonly Timed[]) => {
    for (const { route, answer } of all) {
      expect({ route, status: answer.status }).toEqual({ route, status: 503 });
      expect(answer.json).toMatchObject({ statusCode: 503, code: 'SESSION_STORE_UNAVAILABLE' });
      expect(answer.headers['retry-after']).toBe('1');
      expect({ route, cookies: answer.setCookie }).toEqual({ route, cookies: [] });
    }
  };

  /**
   * All routes at once: none may wait for another, nor for longer than 600 ms. Who was late is asked
   * again, as this machine may have had other work; who is late every time fails.
   */
  const expectOutage = async (user: HttpClient) => {
    const strangers = client.another();
    const asked = [
      ...ROUTES.map((route) => ({ user, route })),
      ...ROUTES_OF_STRANGERS.map((route) => ({ user: strangers, route })),
    ];
    let late = asked;
    for (let round = 0; round < 3 && late.length > 0; round++) {
      const ping = strangers.get('/ping');
      const answers = await Promise.all(late.map((one) => timed(one.user, ...one.route)));
      expectUnavailable(answers);
      late = late.filter((_, index) => answers[index]!.ms > 600);
      expect((await ping).status).toBe(200);
      expect((await strangers.get('/read')).status).toBe(200);
    }
    expect(late.map(({ route }) => route)).toEqual([]);
  };

  const expectRecovery = (user: HttpClient, expected: unknown, within = 1_000) =>
    until(
      'the session is there again',
      async () => {
        const answer = await user.get('/read');
        if (answer.status === 503) return false;
        expect(answer.json).toEqual(expected);
        return true;
      },
      { within },
    );

  beforeEach(async () => {
    logger = new TestLogger();
    // Sessions survive a kill, so that what comes back can be told from what is lost.
    server = await RedisServer.start(['--appendonly', 'yes', '--appendfsync', 'always']);
  });

  afterEach(async () => {
    server.signal('SIGCONT');
    client?.close();
    await running?.close();
    ownClient?.disconnect();
    running = ownClient = undefined;
    await server.stop();
  });

  it('killed: 503 in time and no cookie; back within a second, with all sessions', async () => {
    const user = (await boot(server.url)).another();
    await user.post('/write');
    await user.post('/login');

    await server.kill();
    const since = performance.now();
    while (performance.now() - since < 1_500) await expectOutage(user);
    // Told once, not for each request.
    expect(logger.texts('warn').filter((line) => line.startsWith('Redis connection'))).toHaveLength(
      1,
    );

    await server.run();
    await expectRecovery(user, { n: 1 });
    expect((await user.get('/me')).status).toBe(200);
    expect((await user.post('/write')).json).toEqual({ n: 2 });
  });

  it('frozen: 503 in time and no cookie; goes on where it was', async () => {
    const user = (await boot(server.url)).another();
    await user.post('/write');

    server.signal('SIGSTOP');
    await expectOutage(user);
    await expectOutage(user);

    server.signal('SIGCONT');
    await until('it works again', async () => (await user.get('/read')).status === 200, {
      within: 1_000,
    });
    // A logout that was not confirmed may still have arrived; nothing else is lost or revived.
    const { n } = (await user.get('/read')).json;
    expect(n === null || (n as number) >= 1).toBe(true);
  });

  it.each(['killed', 'frozen'])(
    '%s under a client with the defaults of ioredis: 503 in time all the same',
    async (how) => {
      const user = (await boot(defaultClient())).another();
      await user.post('/write');
      await (how === 'killed' ? server.kill() : server.signal('SIGSTOP'));
      await expectOutage(user);
      if (how === 'killed') await server.run();
      else server.signal('SIGCONT');
      await until('it works again', async () => (await user.get('/read')).status === 200);
    },
  );

  it('absent at boot: fails in time with one clear line', async () => {
    await server.kill();
    const start = performance.now();
    const failure = await boot(server.url).catch((error: unknown) => error);
    expect(performance.now() - start).toBeLessThan(atMost(3_000));
    expect(failure).toBeInstanceOf(SessionStoreUnavailableError);
    expect((failure as Error).message).toMatch(/^[^\n]*Redis did not answer at boot[^\n]*$/);
    expect((failure as Error).message).toContain('bootWithoutStore');
  });

  it('no Sentinel at boot: fails in time with one clear line', async () => {
    const nodes = [{ host: '127.0.0.1', port: await freePort() }];
    const start = performance.now();
    const failure = await boot({ sentinels: { name: 'main', nodes } }).catch((error) => error);
    expect(performance.now() - start).toBeLessThan(atMost(3_000));
    expect((failure as Error).message).toMatch(/^[^\n]*Redis did not answer at boot[^\n]*$/);
  });

  it('frozen at boot: fails in time with one clear line', async () => {
    server.signal('SIGSTOP');
    const start = performance.now();
    const failure = await boot(server.url).catch((error: unknown) => error);
    expect(performance.now() - start).toBeLessThan(atMost(3_000));
    expect((failure as Error).message).toMatch(/^[^\n]*Redis did not answer at boot[^\n]*$/);
  });

  it('absent at boot with bootWithoutStore: starts, answers 503, recovers by itself', async () => {
    await server.kill();
    const start = performance.now();
    const user = (await boot(server.url, { bootWithoutStore: true })).another();
    expect(performance.now() - start).toBeLessThan(atMost(3_000));
    expect(logger.texts('warn').filter((line) => /Redis does not answer/.test(line))).toHaveLength(
      1,
    );
    expect((await user.get('/ping')).status).toBe(200);
    expectUnavailable(
      await Promise.all(ROUTES_OF_STRANGERS.map(([method, path]) => timed(user, method, path))),
    );

    await server.run();
    await until('it works', async () => (await user.post('/write')).status === 201, {
      within: 1_000,
    });
    expect((await user.get('/read')).json).toEqual({ n: 1 });
  });

  it('with its memory full: existing sessions are read and end, nothing else is promised', async () => {
    const user = (await boot(server.url)).another();
    await user.post('/write');
    const admin = new Redis(server.port, '127.0.0.1');
    await admin.config('SET', 'maxmemory', '1');

    expect((await user.get('/read')).json).toEqual({ n: 1 });
    const refused = [
      await timed(user, 'POST', '/write'),
      await timed(user, 'POST', '/renew'),
      await timed(client.another(), 'POST', '/login'),
    ];
    expectUnavailable(refused);
    expect((await user.get('/read')).json).toEqual({ n: 1 });
    expect((await user.post('/logout')).status).toBe(204);
    expect(await admin.dbsize()).toBe(0);
    admin.disconnect();
  });

  it('that forgets its scripts is taught them again', async () => {
    const user = (await boot(server.url)).another();
    await user.post('/write');
    const admin = new Redis(server.port, '127.0.0.1');
    await admin.script('FLUSH');
    expect((await user.post('/write')).json).toEqual({ n: 2 });
    expect((await user.get('/poll')).json).toEqual({ n: 2 });
    admin.disconnect();
  });

  it('that drops every connection again and again: each answer is 200 or 503, and no count is lost', async () => {
    const user = (await boot(server.url)).another();
    await user.post('/write');
    const admin = new Redis(server.port, '127.0.0.1');
    let counted = 1;
    for (let round = 0; round < 20; round++) {
      const writing = Promise.all(Array.from({ length: 5 }, () => user.post('/write')));
      await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      for (const answer of await writing) {
        expect([201, 409, 503]).toContain(answer.status);
        expect(answer.setCookie).toEqual([]);
        if (answer.status === 201) counted++;
      }
    }
    await until('the connection is back', async () => (await user.get('/read')).status === 200);
    // A write whose confirmation was lost may count, a confirmed one must.
    const { n } = (await user.get('/read')).json;
    expect(n).toBeGreaterThanOrEqual(counted);
    expect(n).toBeLessThanOrEqual(101);
    admin.disconnect();
  });
});
