import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import { RequireSession, Session, SessionService } from 'nestjs-distributed-session';
import { ADAPTERS, inParallel, SECRET, startApp, type TestApp, until } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { freePort, type RedisServer } from '../support/redis-server.js';
import { SlotMove } from '../support/slot-move.js';

@Controller()
class Shop {
  constructor(private readonly sessions: SessionService) {}

  @Post('login/:name') @HttpCode(200) async login(
    @Session() session: Session,
    @Param('name') name: string,
  ) {
    await session.authenticate(name);
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal, visits: session.get('visits') };
  }

  @Post('visit') @HttpCode(200) visit(@Session() session: Session) {
    return { visits: session.increment('visits') };
  }

  @RequireSession() @Get('devices') devices(@Session() session: Session) {
    return this.sessions.forPrincipal(session.principal as string).list();
  }

  @RequireSession() @Post('logout-everywhere') @HttpCode(200) async end(
    @Session() session: Session,
  ) {
    return { ended: await this.sessions.forPrincipal(session.principal as string).revokeAll() };
  }
}

describe('a Redis Cluster, by its nodes', () => {
  let cluster: RedisCluster;

  beforeAll(async () => {
    cluster = await RedisCluster.start(3);
  }, 60_000);

  afterAll(() => cluster?.stop(), 30_000);

  /** Any one of them tells of the others. */
  const options = (keyPrefix: string) => ({
    redis: { cluster: { nodes: [cluster.masters[0]!.url] } },
    keyPrefix,
    secret: SECRET,
    cookie: { secure: false },
  });

  describe.each(ADAPTERS)('behind two nodes on %s', (adapter) => {
    const opened = new Opened();
    let nodes: TestApp[];

    beforeAll(async () => {
      const session = options(adapter);
      const start = () => opened.app({ adapter, controllers: [Shop], session });
      nodes = [await start(), await start()];
    });

    afterAll(opened.close);

    it('says at boot what it is, and what is wrong with it', () => {
      const said = nodes[0]!.logger.texts('log').find((text) => text.startsWith('Redis 3 masters'));
      expect(said).toMatch(/each \d+\.\d+\.\d+ \(master, 0 replicas, noeviction, AOF off\)/);
      expect(nodes[0]!.logger.texts('warn')).toEqual([
        expect.stringContaining('The append-only file is off'),
      ]);
    });

    it('any node knows a user, whichever master has the session', async () => {
      await inParallel(60, 20, async (i) => {
        const [one, other] = nodes.map((node) => opened.browser(node)) as [HttpClient, HttpClient];
        await one.post('/visit');
        expect((await one.post(`/login/user-${i}`)).status).toBe(200);
        const there = other.another(one.jar);
        await Promise.all([one.post('/visit'), there.post('/visit'), one.post('/visit')]);
        expect((await there.get('/me')).json).toEqual({ principal: `user-${i}`, visits: 4 });
      });
      const names = await Promise.all(cluster.masters.map((master) => keysOn(master)));
      for (const keys of names) expect(keys.length).toBeGreaterThan(10);
    });

    it('devices are listed and ended, on all masters', async () => {
      const [one, other] = nodes.map((node) => opened.browser(node)) as [HttpClient, HttpClient];
      for (const client of [one, other]) await client.post('/login/alice');
      expect((await one.get('/devices')).json).toHaveLength(2);
      expect((await other.post('/logout-everywhere')).json).toEqual({ ended: 2 });
      expect((await one.get('/me')).status).toBe(401);
      const service = nodes[0]!.app.get(SessionService);
      const before = await service.count();
      expect(before).toBeGreaterThanOrEqual(60);
      expect(await service.revokeAllPrincipals()).toBe(before);
      expect(await service.count()).toBe(0);
    });
  });

  it('whose slot is on its way to a node that hangs fails the request, and not the process', async () => {
    const opened = new Opened();
    const app = await opened.app({
      adapter: 'express',
      controllers: [Shop],
      session: options('ask'),
    });
    const browser = opened.browser(app);
    expect((await browser.post('/login/somebody')).status).toBe(200);
    const [{ handle }] = (await browser.get('/devices')).json as unknown as [{ handle: string }];
    const move = await SlotMove.begin(cluster, `{ask:${handle.slice(0, 2)}}`);
    await move.keys();
    const target = cluster.masters.find(({ port }) => port === move.target)!;
    target.signal('SIGSTOP');
    const refused = await browser.get('/me');
    expect(refused.json).toMatchObject({ statusCode: 503 });
    // The driver's question to that node fails somewhat later.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    target.signal('SIGCONT');
    await move.end();
    await until('it is there', async () => (await browser.get('/me')).status === 200);
    await opened.close();
  });

  it('that does not answer fails the boot in time', async () => {
    const nodes = [`redis://127.0.0.1:${await freePort()}`];
    const startedAt = performance.now();
    const session = { redis: { cluster: { nodes } } };
    await expect(startApp({ adapter: 'express', session })).rejects.toMatchObject({
      code: 'SESSION_STORE_UNAVAILABLE',
    });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  it.each([
    ['no nodes', { cluster: { nodes: [] } }, /cluster cannot be used: .*use \{ nodes/],
    ['a node that is none', { cluster: { nodes: [7] } }, /cluster cannot be used: .*use \{ nodes/],
    [
      'a URL beside',
      { url: 'redis://127.0.0.1', cluster: { nodes: ['redis://127.0.0.1'] } },
      /redis.url and redis.cluster are given together/,
    ],
  ])('is checked at boot: %s', async (_, redis, problem) => {
    await expect(startApp({ adapter: 'express', session: { redis } as never })).rejects.toThrow(
      problem,
    );
  });
});

async function keysOn(server: RedisServer): Promise<string[]> {
  const client = server.connect();
  const [, keys] = await client.scan('0', 'COUNT', 10_000);
  client.disconnect();
  return keys;
}

describe('a slot that is being moved to another master', () => {
  let cluster: RedisCluster;

  beforeAll(async () => {
    cluster = await RedisCluster.start(3);
  }, 60_000);

  afterAll(() => cluster?.stop(), 30_000);

  it('keeps lists and logins waiting, and fails none', async () => {
    const app = await startApp({
      adapter: 'express',
      session: { redis: { cluster: { nodes: [cluster.masters[0]!.url] } }, maxSessions: 3 },
    });
    const sessions = app.app.get(SessionService);
    const own = await inParallel(3, 1, () => sessions.create({ principal: 'alice' }));
    const bucket = own[0]!.handle.slice(0, 2);
    const move = await SlotMove.begin(cluster, `{sess:${bucket}}:`);
    await move.keys((key) => key.endsWith(own[1]!.handle));

    const running = [
      sessions.forPrincipal('alice').list(),
      sessions.create({ principal: 'alice' }),
      sessions.forPrincipal('alice').count(),
    ];
    await new Promise((resolve) => setTimeout(resolve, 100));
    await move.keys();
    await move.end();
    const [listed, created] = await Promise.all(running);
    expect(listed).not.toHaveLength(0);
    expect(created).toMatchObject({ principal: 'alice' });
    expect(await sessions.forPrincipal('alice').list()).toHaveLength(3);
    await app.close();
  }, 30_000);
});
