import { afterAll, beforeAll, describe, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import { MemorySessionStore, type RedisClient } from 'nestjs-distributed-session';
import { SqlSessionStore } from 'nestjs-distributed-session/sql';
import { describeSessionStore } from 'nestjs-distributed-session/testing';
import { tieredStore } from 'nestjs-distributed-session/tiered';
import { systemClock } from '../../lib/core/clock.js';
import type { FencedSessionStore } from '../../lib/core/fenced-store.interface.js';
import { RedisHotCopies } from '../../lib/stores/redis/redis-hot-copies.js';
import {
  TieredSessionStore,
  type TieredMode,
} from '../../lib/stores/tiered/tiered-session.store.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { freePort, RedisServer } from '../support/redis-server.js';
import { describeSql, startSql, type SqlBackend } from '../support/sql-backends.js';

const runner = { describe, it };
const toggles = { news: false };

/** Values of the suite have no header: here each may be written behind. */
const printOf = () => 'p'.repeat(16);

function tieredOver(base: FencedSessionStore, client: unknown, mode: TieredMode) {
  const options = { keyPrefix: `sess:${randomUUID()}`, hotFor: 60_000, maxBehind: 1_000, printOf };
  return new TieredSessionStore({
    base,
    hot: new RedisHotCopies(client as RedisClient, options),
    mode,
    onHotFailure: 'reject',
    flushEvery: 20,
    onTrouble: () => undefined,
    printOf,
  });
}

describeSql(['sqlite'], (dialect) => {
  let redis: RedisServer;
  let client: Redis;
  let backend: SqlBackend;
  let deadPort: number;
  beforeAll(async () => {
    redis = await RedisServer.start();
    client = redis.connect();
    backend = await startSql(dialect);
    deadPort = await freePort();
  }, 60_000);
  afterAll(async () => {
    client?.disconnect();
    await backend?.stop();
    await redis?.stop();
  });

  for (const mode of ['write-through', 'write-behind'] as const) {
    describeSessionStore(`TieredSessionStore over one Redis, ${mode}`, {
      runner,
      create: async () => {
        const db = backend.connect();
        const table = await backend.tablesBy(db);
        return tieredOver(new SqlSessionStore({ db, table, sweepEvery: false }), client, mode);
      },
      unreachable: async () => {
        const db = backend.connect();
        await db.destroy();
        const base = new SqlSessionStore({ db, sweepEvery: false });
        const lost = { port: deadPort, host: '127.0.0.1', disconnectTimeout: 1 };
        return tieredStore({ base, redis: lost, mode });
      },
      toggles,
    });
  }
});

describe('over a Redis Cluster', () => {
  let cluster: RedisCluster;
  let client: Cluster;
  beforeAll(async () => {
    cluster = await RedisCluster.start(3);
    client = cluster.connect();
  }, 60_000);
  afterAll(() => cluster?.stop());

  describeSessionStore('TieredSessionStore, write-behind', {
    runner,
    create: () => tieredOver(new MemorySessionStore(systemClock), client, 'write-behind'),
    toggles,
  });
});
