import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get } from '@nestjs/common';
import { HealthCheck, HealthCheckService, TerminusModule } from '@nestjs/terminus';
import { setTimeout as delay } from 'node:timers/promises';
import { SkipSession, type SessionModuleOptions } from 'nestjs-distributed-session';
import { SessionHealthIndicator } from 'nestjs-distributed-session/terminus';
import { ADAPTERS, startApp, until, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { NEST } from '../support/nest.js';
import { RedisProxy, type Link } from '../support/redis-proxy.js';
import { RedisServer } from '../support/redis-server.js';

/** Answers all but INFO at once. */
class SlowInfo extends RedisProxy {
  /** Milliseconds. */
  hold = 0;
  #before = Promise.resolve();

  protected override toRedis(chunk: Buffer, { redis }: Link): void {
    const hold = /\r\ninfo\r\n/i.test(chunk.toString('latin1')) ? this.hold : 0;
    this.#before = this.#before.then(async () => {
      if (hold > 0) await delay(hold);
      redis.write(chunk);
    });
  }
}

const TIMEOUT = 400;
// Without a disk between, a replica begins to follow seconds later.
const DURABLE = ['--appendonly', 'yes', '--repl-diskless-sync', 'no'];

@Controller('health')
class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly sessions: SessionHealthIndicator,
  ) {}

  @Get() @HealthCheck() @SkipSession() check() {
    return this.health.check([
      () => this.sessions.isHealthy('sessions', { timeout: TIMEOUT, lookEvery: 0 }),
    ]);
  }
}

/** From version 12 on there is something between up and down. */
const IMPAIRED = NEST >= 12 ? 'degraded' : 'up';

describe.each(ADAPTERS)('the health of sessions on %s', (adapter) => {
  const servers: RedisServer[] = [];
  const apps: TestApp[] = [];
  const proxies: SlowInfo[] = [];

  afterAll(async () => {
    for (const app of apps) await app.close();
    for (const proxy of proxies) await proxy.stop();
    for (const server of servers) await server.stop();
  });

  const startRedis = async (...args: string[]) => {
    const server = await RedisServer.start(args);
    servers.push(server);
    return server;
  };

  const start = async (session: SessionModuleOptions) => {
    const app = await startApp({
      adapter,
      session,
      imports: [TerminusModule.forRoot({ logger: false })],
      controllers: [HealthController],
      providers: [SessionHealthIndicator],
    });
    apps.push(app);
    return new HttpClient(app.port);
  };

  const askedOf = async (client: HttpClient) => {
    const { status, json } = await client.get('/health');
    const details = (json.details ?? json.error) as { sessions: Record<string, unknown> };
    return { status, ...details.sessions } as Record<string, unknown>;
  };

  describe('with a Redis that is as it should be', () => {
    let client: HttpClient;
    let redis: RedisServer;

    beforeAll(async () => {
      redis = await startRedis('--appendonly', 'yes');
      client = await start({ redis: redis.url });
    });

    it('is up, and tells how quick the store answers and how it stands', async () => {
      const told = await askedOf(client);
      expect(told).toMatchObject({
        evictionPolicy: 'noeviction',
        persistence: 'aof',
        replicas: 0,
        replicaLag: 0,
      });
      expect(told).not.toHaveProperty('findings');
      expect(told.latency).toBeGreaterThan(0);
      expect(told.clockSkew).toBeLessThan(1_000);
      expect(JSON.stringify(told)).not.toContain(String(redis.port));
    });

    it('is down while Redis does not answer, and up again afterwards', async () => {
      redis.signal('SIGSTOP');
      try {
        const { status, json } = await client.get('/health');
        expect(status).toBe(503);
        expect(json).toMatchObject({
          status: 'error',
          error: { sessions: { status: 'down', code: 'SESSION_STORE_UNAVAILABLE' } },
        });
      } finally {
        redis.signal('SIGCONT');
      }
      await until('it is up again', async () => (await client.get('/health')).status === 200);
    });
  });

  it('is impaired where Redis evicts and keeps nothing, by the codes of the doctor', async () => {
    const redis = await startRedis('--maxmemory-policy', 'allkeys-lru', '--save', '');
    const client = await start({ redis: redis.url });
    const { status, json } = await client.get('/health');
    expect(status).toBe(200);
    expect(json).toMatchObject({
      details: {
        sessions: {
          status: IMPAIRED,
          evictionPolicy: 'allkeys-lru',
          persistence: 'none',
          findings: ['EVICTION', 'NO_PERSISTENCE'],
        },
      },
    });
  });

  describe('with a replica', () => {
    let client: HttpClient;
    let replica: RedisServer;
    let redis: RedisServer;

    const isFollowed = async () => {
      const admin = redis.connect();
      try {
        return /state=online/.test(await admin.info('replication'));
      } finally {
        admin.disconnect();
      }
    };
    const write = async () => {
      const admin = redis.connect();
      await admin.set('something', 'to confirm', 'PX', 60_000);
      admin.disconnect();
    };

    beforeAll(async () => {
      redis = await startRedis(...DURABLE);
      replica = await startRedis(...DURABLE, '--replicaof', `127.0.0.1 ${redis.port}`);
      await until('it follows', isFollowed, { within: 30_000 });
      client = await start({ redis: redis.url });
    }, 60_000);

    it('is up, however much is being written', async () => {
      for (let i = 0; i < 30; i++) {
        await write();
        expect(await askedOf(client)).toMatchObject({ status: 'up', replicas: 1 });
      }
    });

    it('is impaired as long as the replica lags, in every probe, and none of them waits for it', async () => {
      replica.signal('SIGSTOP');
      try {
        await write();
        const isLagging = (told: Record<string, unknown>) =>
          told.status === IMPAIRED && 'findings' in told;
        await until('it is impaired', async () => isLagging(await askedOf(client)), {
          within: 10_000,
        });
        const end = performance.now() + 5_000;
        while (performance.now() < end) {
          const asked = performance.now();
          expect(await askedOf(client)).toMatchObject({
            status: IMPAIRED,
            findings: ['REPLICA_LAG'],
            evictionPolicy: 'noeviction',
            replicas: 1,
          });
          expect(performance.now() - asked).toBeLessThan(2 * TIMEOUT);
        }
        expect((await askedOf(client)).replicaLag).toBeGreaterThan(0);
      } finally {
        replica.signal('SIGCONT');
      }
      await until(
        'it is up again',
        async () =>
          (await askedOf(client)).status === 'up' && !('findings' in (await askedOf(client))),
        { within: 10_000 },
      );
    }, 60_000);
  });

  it('says so while Redis does not tell in time how it stands, and what it saw before', async () => {
    const redis = await startRedis('--appendonly', 'yes', '--maxmemory-policy', 'allkeys-lru');
    const proxy = await SlowInfo.start(redis.port);
    proxies.push(proxy);
    const client = await start({ redis: proxy.url });
    proxy.hold = 2 * TIMEOUT;
    const first = await askedOf(client);
    expect(first).toMatchObject({ status: IMPAIRED, findings: ['LOOK_LATE'] });
    expect(first).not.toHaveProperty('evictionPolicy');
    proxy.hold = 0;
    const isSeen = async () => (await askedOf(client)).evictionPolicy === 'allkeys-lru';
    await until('it is seen', isSeen);
    expect(await askedOf(client)).toMatchObject({ status: IMPAIRED, findings: ['EVICTION'] });
    proxy.hold = 2 * TIMEOUT;
    expect(await askedOf(client)).toMatchObject({
      status: IMPAIRED,
      findings: ['EVICTION', 'LOOK_LATE'],
      evictionPolicy: 'allkeys-lru',
    });
  });

  it('tells of any other store whether it answers', async () => {
    const client = await start({ store: 'memory' });
    expect(await askedOf(client)).toEqual({ status: 'up', latency: expect.any(Number) });
  });
});
