import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get } from '@nestjs/common';
import { HealthCheck, HealthCheckService, TerminusModule } from '@nestjs/terminus';
import { SkipSession, type SessionModuleOptions } from 'nestjs-distributed-session';
import { SessionHealthIndicator } from 'nestjs-distributed-session/terminus';
import { ADAPTERS, startApp, until, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { NEST } from '../support/nest.js';
import { RedisServer } from '../support/redis-server.js';

@Controller('health')
class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly sessions: SessionHealthIndicator,
  ) {}

  @Get() @HealthCheck() @SkipSession() check() {
    return this.health.check([
      () => this.sessions.isHealthy('sessions', { timeout: 400, lookEvery: 0 }),
    ]);
  }
}

/** From version 12 on there is something between up and down. */
const IMPAIRED = NEST >= 12 ? 'degraded' : 'up';

describe.each(ADAPTERS)('the health of sessions on %s', (adapter) => {
  const servers: RedisServer[] = [];
  const apps: TestApp[] = [];

  afterAll(async () => {
    for (const app of apps) await app.close();
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

  it('tells of any other store whether it answers', async () => {
    const client = await start({ store: 'memory' });
    expect(await askedOf(client)).toEqual({ status: 'up', latency: expect.any(Number) });
  });
});
