import { afterAll, beforeAll, describe, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Cluster, Redis } from 'ioredis';
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis5';
import { Cluster as ValkeyCluster, Redis as Valkey } from 'iovalkey';
import {
  MemorySessionStore,
  RedisSessionStore,
  type RedisClient,
} from 'nestjs-distributed-session';
import { describeSessionStore, FakeClock } from 'nestjs-distributed-session/testing';
import { RedisCluster } from '../support/redis-cluster.js';
import { freePort } from '../support/redis-server.js';
import {
  clientOf,
  startRedis,
  TOPOLOGY,
  type RedisUnderTest,
} from '../support/redis-under-test.js';

const runner = { describe, it };

describe('in memory', () => {
  const clock = new FakeClock();
  describeSessionStore('MemorySessionStore', {
    runner,
    create: () => new MemorySessionStore(clock, { maxSessions: 2_000 }),
    advance: (milliseconds) => clock.advance(milliseconds),
  });
});

/** What the library asks of a client, and what a test does with one. */
type Client = RedisClient & {
  disconnect(): void;
  on(event: 'error', listener: () => void): unknown;
};

const drivers = {
  'ioredis 6': { Redis, Cluster },
  'ioredis 5': { Redis: Redis5, Cluster: Cluster5 },
  iovalkey: { Redis: Valkey, Cluster: ValkeyCluster },
};

/** Stores that know nothing of each other, with keys that the user of Redis may touch. */
const keyPrefix = () => `sess:${randomUUID()}`;

describe('in Redis', () => {
  let redis: RedisUnderTest;
  let deadPort: number;

  beforeAll(async () => {
    redis = await startRedis();
    deadPort = await freePort();
  }, 60_000);

  afterAll(() => redis.stop());

  for (const [name, driver] of Object.entries(drivers)) {
    describe(`by ${name}`, () => {
      let client: Client;
      beforeAll(() => {
        client = clientOf(driver, redis.connection()) as Client;
      });
      afterAll(() => client.disconnect());

      describeSessionStore('RedisSessionStore', {
        runner,
        create: () => new RedisSessionStore(client, { keyPrefix: keyPrefix() }),
        unreachable: () => {
          const lost = clientOf(driver, `redis://127.0.0.1:${deadPort}`, {
            maxRetriesPerRequest: 1,
            // A client that gives up waits this long for its socket to close, even for one that is closed.
            disconnectTimeout: 1,
          }) as Client;
          lost.on('error', () => undefined);
          return new RedisSessionStore(lost, { close: async () => lost.disconnect() });
        },
      });
    });
  }
});

if (TOPOLOGY === 'standalone') {
  describe('in a Redis Cluster of three masters', () => {
    let cluster: RedisCluster;
    let client: Cluster;

    beforeAll(async () => {
      cluster = await RedisCluster.start(3);
      client = cluster.connect();
    }, 60_000);

    afterAll(() => cluster?.stop());

    describeSessionStore('RedisSessionStore', {
      runner,
      create: () => new RedisSessionStore(client as RedisClient, { keyPrefix: keyPrefix() }),
    });
  });
}
