import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, Post } from '@nestjs/common';
import {
  PassiveSession,
  RequireSession,
  Session,
  SessionService,
} from 'nestjs-distributed-session';
import { ADAPTERS, SECRET, startApp, until, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

@Controller()
class Shop {
  @RequireSession()
  @Get('me')
  me(@Session() session: Session) {
    return { principal: session.principal };
  }

  @PassiveSession()
  @RequireSession()
  @Get('peek')
  peek(@Session() session: Session) {
    return { principal: session.principal, left: session.expiresAt - Date.now() };
  }

  @Post('login') async login(@Session() session: Session) {
    await session.authenticate('alice');
  }
}

describe.each(ADAPTERS)('requests that come together, on %s', (adapter) => {
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  let node: TestApp;

  beforeAll(async () => {
    redis = await startRedis();
    probe = await RedisProbe.start(redis);
    await probe.watch();
    node = await startApp({
      adapter,
      controllers: [Shop],
      session: {
        redis: redis.connection(),
        secret: SECRET,
        cookie: { secure: false },
        nearCache: true,
      },
    });
    await until('copies are kept', () => node.app.get(SessionService).nearCache()?.live);
  }, 60_000);

  afterAll(async () => {
    await node.close();
    await probe.stop();
    await redis.stop();
  });

  it.each([
    ['that move its idle window', ['/me'], 1],
    ['that leave its idle window as it is', ['/peek'], 1],
    // What moves it tells where it stands as well, if it was there first.
    ['of both kinds', ['/me', '/peek'], 2],
  ] as const)(
    'share one read of a session that this node does not know yet: %s',
    async (_, paths, most) => {
      // The server knows the scripts from then on.
      const [first] = browsersOf(await unknownHere(), 1);
      await first!.get(paths[0]);
      first!.close();
      const clients = browsersOf(await unknownHere(), 50);
      const seen = await commandsOf(async () => {
        const asked = clients.map((client, i) => client.get(paths[i % paths.length]!));
        for (const { status, json } of await Promise.all(asked)) {
          expect(status).toBe(200);
          if (json.left !== undefined) expect(json.left).toBeGreaterThan(29 * 60_000);
        }
      });
      expect(seen.length).toBeGreaterThan(0);
      expect(seen.length).toBeLessThanOrEqual(most);
      clients.forEach((client) => client.close());
    },
  );

  const commandsOf = async (work: () => Promise<void>) => {
    const seen = await probe.commandsDuring(work);
    return seen.map(({ name }) => name).filter((name) => name !== 'ping');
  };

  const browsersOf = (jar: HttpClient['jar'], count: number) =>
    Array.from({ length: count }, () => new HttpClient(node.port, jar));

  /** The cookies of a session that another node has made. */
  async function unknownHere(): Promise<HttpClient['jar']> {
    const session = { redis: redis.connection(), secret: SECRET, cookie: { secure: false } };
    const other = await startApp({ adapter, controllers: [Shop], session });
    const client = new HttpClient(other.port);
    await client.post('/login');
    client.close();
    await other.close();
    return client.jar;
  }
});
