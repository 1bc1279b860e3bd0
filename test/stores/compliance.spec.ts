import { afterAll, beforeAll, describe, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Redis, type Cluster } from 'ioredis';
import { Redis as Redis5 } from 'ioredis5';
import { Redis as Valkey } from 'iovalkey';
import {
  MemorySessionStore,
  RedisSessionStore,
  type RedisClient,
} from 'nestjs-distributed-session';
import { describeSessionStore, FakeClock } from 'nestjs-distributed-session/testing';
import { RedisCluster } from '../support/redis-cluster.js';
import { freePort, RedisServer } from '../support/redis-server.js';

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

interface ClientOptions {
  readonly port: number;
  readonly host: string;
  readonly maxRetriesPerRequest?: number;
  /** A client that gives up waits this long for its socket to close, even for one that is closed. */
  readonly disconnectTimeout?: number;
}

const drivers = {
  'ioredis 6': (options: ClientOptions) => new Redis(options) as Client,
  'ioredis 5': (options: ClientOptions) => new Redis5(options) as Client,
  iovalkey: (options: ClientOptions) => new Valkey(options) as Client,
};

describe('in Redis', () => {
  let server: RedisServer;
  let deadPort: number;

  beforeAll(async () => {
    server = await RedisServer.start();
    deadPort = await freePort();
  });

  afterAll(() => server.stop());

  for (const [driver, connect] of Object.entries(drivers)) {
    describe(`by ${driver}`, () => {
      let client: Client;
      beforeAll(() => {
        client = connect({ port: server.port, host: '127.0.0.1' });
      });
      afterAll(() => client.disconnect());

      describeSessionStore('RedisSessionStore', {
        runner,
        create: () => new RedisSessionStore(client, { keyPrefix: randomUUID() }),
        unreachable: () => {
          const lost = connect({
            port: deadPort,
            host: '127.0.0.1',
            maxRetriesPerRequest: 1,
            disconnectTimeout: 1,
          });
          lost.on('error', () => undefined);
          return new RedisSessionStore(lost, { close: async () => lost.disconnect() });
        },
      });
    });
  }
});

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
    create: () => new RedisSessionStore(client as RedisClient, { keyPrefix: randomUUID() }),
  });
});
