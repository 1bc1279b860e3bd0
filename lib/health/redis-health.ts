import { systemClock } from '../core/clock.js';
import { checkClocks } from '../doctor/check-clocks.js';
import {
  checkReplication,
  replicationIn,
  type ReplicationFacts,
} from '../doctor/check-replication.js';
import { checkServer } from '../doctor/check-server.js';
import type { Finding } from '../doctor/finding.js';
import { factsOf, type ServerFacts } from '../doctor/server-facts.js';
import type { RedisClient } from '../stores/redis/redis-client.js';

/** How Redis stands, as a health check tells it: no host, no key. */
export interface RedisHealth {
  readonly evictionPolicy: string;
  readonly persistence: 'aof' | 'rdb' | 'none' | 'unknown';
  readonly replicas: number;
  /** Bytes that the slowest replica has not confirmed. */
  readonly replicaLag: number;
  /** Milliseconds by which the clock that differs most is off. */
  readonly clockSkew: number;
  readonly findings: readonly Finding[];
}

/** What was seen at once. */
export interface RedisLook {
  readonly health: RedisHealth;
  readonly replication: readonly ReplicationFacts[];
}

/** Asks all servers that take writes; waits for no replica. */
export async function lookAt(masters: readonly RedisClient[]): Promise<RedisLook> {
  const now = () => systemClock.now();
  const servers = await Promise.all(masters.map((node) => factsOf(node, now)));
  const replication = servers.map(({ where, info }) => replicationIn(where, info));
  const replicas = replication.flatMap((one) => one.replicas);
  const skews = servers.map(({ clock }) => (clock ? Math.abs(clock.ahead) - clock.within : 0));
  const health: RedisHealth = {
    evictionPolicy: alike(servers.map(({ info }) => info.maxmemory_policy ?? 'unknown')),
    persistence: alike(servers.map(persistenceOf)),
    replicas: replicas.length,
    replicaLag: Math.max(0, ...replicas.map(({ behind }) => behind)),
    clockSkew: Math.max(0, ...skews.map(Math.round)),
    findings: [
      ...servers.flatMap(checkServer),
      ...checkClocks(servers),
      ...checkReplication(replication, { waited: false }),
    ],
  };
  return { health, replication };
}

function persistenceOf({ info, save }: ServerFacts): RedisHealth['persistence'] {
  if (info.aof_enabled === undefined) return 'unknown';
  if (info.aof_enabled === '1') return 'aof';
  return save === '' ? 'none' : 'rdb';
}

/** Of servers that should be alike: the first, or the one that differs. */
const alike = <T>(values: readonly T[]): T =>
  values.find((value) => value !== values[0]) ?? (values[0] as T);
