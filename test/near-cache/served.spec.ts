import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, HttpCode, Post, UseGuards } from '@nestjs/common';
import {
  Consistency,
  RequireRole,
  Session,
  SessionGuard,
  SessionService,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { ADAPTERS, SECRET, startApp, until, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { RedisProbe, type SeenCommand } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

@Controller()
class Shop {
  @UseGuards(SessionGuard)
  @Get('me')
  me(@Session() session: Session) {
    return { principal: session.principal, note: session.get('note') ?? null };
  }

  @Consistency('strong')
  @UseGuards(SessionGuard)
  @Get('strong')
  strong(@Session('note') note: unknown) {
    return { note: note ?? null };
  }

  @RequireRole('admin')
  @Get('admin')
  admin() {
    return {};
  }

  @Consistency('near')
  @RequireRole('admin')
  @Get('near-admin')
  nearAdmin() {
    return {};
  }

  @Get('cart') cart(@Session('cart') cart: string[] | undefined) {
    cart?.push('changed by who reads');
    return { cart: cart ?? [] };
  }

  @Post('note') note(@Session() session: Session) {
    return { note: session.increment('note') };
  }

  @Post('read') read(@Session('note') note: unknown) {
    return { note: note ?? null };
  }

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('alice', { roles: ['admin'] });
    session.set('text', 'x'.repeat(900));
    return {};
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }
}

/** What shows that a connection still stands. */
const isAlive = ({ name }: SeenCommand): boolean => name === 'ping';

describe.each(ADAPTERS)('a near cache, on %s', (adapter) => {
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  let nodes: TestApp[];

  const start = (nearCache: SessionModuleOptions['nearCache'] = true) =>
    startApp({
      adapter,
      controllers: [Shop],
      session: {
        redis: redis.connection(),
        secret: SECRET,
        cookie: { secure: false },
        nearCache,
        touchAfter: '10m',
        idleTimeout: '1h',
      },
    });
  const figures = (node: TestApp) => node.app.get(SessionService).nearCache()!;
  const client = (node: TestApp, jar?: HttpClient['jar']) => {
    const made = new HttpClient(node.port);
    if (jar) Object.defineProperty(made, 'jar', { value: jar });
    return made;
  };
  const commandsOf = async (work: () => Promise<unknown>) => {
    const seen = await probe.commandsDuring(work);
    return seen.filter((one) => !isAlive(one)).map(({ name }) => name);
  };

  beforeAll(async () => {
    redis = await startRedis();
    probe = await RedisProbe.start(redis);
    await probe.watch();
    nodes = [await start(), await start()];
  }, 60_000);

  afterAll(async () => {
    for (const node of nodes) await node.close();
    await probe.stop();
    await redis.stop();
  });

  beforeEach(() => until('copies are kept', () => nodes.every((node) => figures(node).live)));

  it('serves an authenticated read without any command', async () => {
    const alice = client(nodes[0]!);
    await alice.post('/login');
    expect(await commandsOf(() => alice.get('/me'))).toHaveLength(1);
    expect(
      await commandsOf(async () => {
        for (let i = 0; i < 50; i++) expect((await alice.get('/me')).status).toBe(200);
      }),
    ).toEqual([]);
    expect(figures(nodes[0]!).hits).toBeGreaterThanOrEqual(50);
  });

  it('asks Redis where that was asked for, and for roles; and not where that was undone', async () => {
    const alice = client(nodes[0]!);
    await alice.post('/login');
    await alice.get('/me');
    expect(await commandsOf(() => alice.get('/strong'))).toEqual(['get']);
    expect(await commandsOf(() => alice.get('/admin'))).toEqual(['get']);
    expect(await commandsOf(() => alice.get('/near-admin'))).toEqual([]);
    expect(await commandsOf(() => alice.post('/read'))).toEqual(['get']);
    expect(await commandsOf(() => alice.get('/me'))).toEqual([]);
  });

  it('reads what it has written itself, without a further command', async () => {
    const alice = client(nodes[0]!);
    await alice.post('/login');
    await alice.get('/me');
    for (let i = 1; i <= 5; i++) {
      await alice.post('/note');
      const answers: unknown[] = [];
      expect(await commandsOf(async () => answers.push((await alice.get('/me')).json))).toEqual([]);
      expect(answers).toEqual([{ principal: 'alice', note: i }]);
    }
  });

  it('reads on another node what this one has written', async () => {
    const alice = client(nodes[0]!);
    await alice.post('/login');
    const beside = client(nodes[1]!, alice.jar);
    for (let i = 1; i <= 200; i++) {
      await beside.get('/me');
      await alice.post('/note');
      expect((await beside.get('/me')).json).toEqual({ principal: 'alice', note: i });
    }
    expect(figures(nodes[1]!).invalidations).toBeGreaterThan(100);
  });

  it('is told of a logout on another node', async () => {
    const alice = client(nodes[0]!);
    await alice.post('/login');
    const thief = client(nodes[1]!);
    thief.jar.set(...([...alice.jar.entries()][0] as [string, string]));
    expect((await thief.get('/me')).status).toBe(200);
    await alice.post('/logout');
    await until('the thief is out', async () => (await thief.get('/me')).status === 401);
  });

  it('hands out copies of its own of what can be changed', async () => {
    const alice = client(nodes[0]!);
    await alice.post('/login');
    expect((await alice.get('/cart')).json).toEqual({ cart: [] });
  });
});
