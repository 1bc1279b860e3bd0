import { afterAll } from '@jest/globals';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { RedisConnectionOptions, SessionModuleOptions } from 'nestjs-distributed-session';
import * as scripts from '../../lib/stores/redis/redis-scripts.js';
import { RedisCluster } from './redis-cluster.js';
import { RedisSentinel } from './redis-sentinel.js';
import { RedisServer } from './redis-server.js';
import {
  documentedForEvents,
  documentedForNearCache,
  documentedUser,
  withPrefixes,
} from './redis-user.js';

/** What an application is told, as long as it makes its own connection. */
export type RedisConnection = Extract<SessionModuleOptions['redis'], string | { url?: string }>;

/** One Redis, whatever servers it consists of. */
export interface RedisUnderTest {
  /** All that keep sessions, replicas as well. */
  readonly servers: readonly RedisServer[];
  /** Those that take writes now. */
  currentMasters(): Promise<readonly RedisServer[]>;
  /** What an application is told. `gates`: ports by those of the servers that they stand before. */
  connection(gates?: ReadonlyMap<number, number>): RedisConnection;
  /** Ends all servers at once; `run()` starts them again. */
  kill(): Promise<void>;
  run(): Promise<void>;
  /** Ends it for good; fails if a usable session id is in it. */
  stop(): Promise<void>;
}

const TOPOLOGIES = {
  standalone: (args: readonly string[]) => RedisServer.start(args),
  tls: (args: readonly string[]) => RedisServer.start(args, { tls: true }),
  acl: (args: readonly string[], prefixes: readonly string[]) =>
    RedisServer.start(args, { user: withPrefixes(userWithEverything(), prefixes) }),
  sentinel: (args: readonly string[]) => RedisSentinel.start({ args }),
  cluster: (args: readonly string[]) => RedisCluster.start(3, { args }),
};

function userWithEverything() {
  const user = documentedUser();
  const more = [...documentedForEvents(), ...documentedForNearCache()];
  return { ...user, rules: [...user.rules, ...more, '&sess:*'] };
}

/** What Redis is in this run. */
export const TOPOLOGY = (process.env.REDIS_TOPOLOGY ?? 'standalone') as keyof typeof TOPOLOGIES;
if (!(TOPOLOGY in TOPOLOGIES)) {
  throw new Error(`REDIS_TOPOLOGY is one of ${Object.keys(TOPOLOGIES).join(', ')}`);
}

/**
 * How many of the trials that look for races a run has: all; of one that goes through the topologies a fifth,
 * of one with `TRIALS=0.5` half.
 */
export const trialsOf = (all: number): number => {
  const part = Number(process.env.TRIALS ?? (process.env.REDIS_TOPOLOGY === undefined ? 1 : 0.2));
  return Math.ceil(all * part);
};

/** A run with fewer trials does in one of several equal ways what takes long: the first that is named here. */
export const oneOf = <T>(first: T, ...others: readonly T[]): readonly T[] =>
  trialsOf(100) < 100 ? [first] : [first, ...others];

/** Forms in seconds, so one serves a whole file. */
const SLOW = TOPOLOGY === 'sentinel' || TOPOLOGY === 'cluster';
const idle: SharedRedis[] = [];
const formed: SharedRedis[] = [];

afterAll(async () => {
  for (const shared of formed) await shared.end();
});

export interface StartRedisOptions {
  /** Arguments of each server. */
  readonly args?: readonly string[];
  /** Prefixes of keys that the test uses besides `sess`. */
  readonly keyPrefixes?: readonly string[];
}

/** A Redis of the topology that this run is for, empty. */
export async function startRedis(options: StartRedisOptions = {}): Promise<RedisUnderTest> {
  const { args = [], keyPrefixes = [] } = options;
  const start = () => TOPOLOGIES[TOPOLOGY](args, keyPrefixes) as Promise<RedisUnderTest>;
  if (!SLOW) return start();
  if (args.length > 0) return readied(await start());
  const shared = idle.pop() ?? new SharedRedis(await start());
  await shared.run();
  return readied(shared);
}

/** Every master knows the scripts: a test can make only the one that serves it know them. */
async function readied(redis: RedisUnderTest): Promise<RedisUnderTest> {
  for (const master of await redis.currentMasters()) {
    const client = master.connect();
    for (const { source, telling } of Object.values(scripts)) {
      await client.script('LOAD', source);
      if (telling) await client.script('LOAD', telling.source);
    }
    client.disconnect();
  }
  return redis;
}

/** One that is given back instead of being stopped, and serves the next test of the file. */
class SharedRedis implements RedisUnderTest {
  readonly servers: readonly RedisServer[];

  constructor(private readonly redis: RedisUnderTest) {
    this.servers = redis.servers;
    formed.push(this);
  }

  currentMasters = () => this.redis.currentMasters();
  connection = (gates?: ReadonlyMap<number, number>) => this.redis.connection(gates);
  kill = () => this.redis.kill();

  async run(): Promise<void> {
    if (!this.servers.every(({ isRunning }) => isRunning)) await this.redis.run();
  }

  async stop(): Promise<void> {
    for (const server of this.servers) if (server.isRunning) await server.assertClean();
    for (const master of await this.redis.currentMasters()) {
      // What was ended had nothing on disk.
      if (!master.isRunning) continue;
      const client = master.connect();
      await client.flushall();
      client.disconnect();
    }
    idle.push(this);
  }

  end = () => this.redis.stop();
}

/** ioredis, another version of it, or what was made of it. */
export interface Driver {
  readonly Redis: unknown;
  readonly Cluster: unknown;
}

type Construct = new (...args: unknown[]) => unknown;

/** A client of a driver, told what an application is told; nobody has waited for it. */
export function clientOf(driver: Driver, connection: RedisConnection, more: RedisOptions = {}) {
  const told = typeof connection === 'string' ? { url: connection } : connection;
  const { url, cluster, sentinels, ...rest } = told;
  const options = { ...rest, ...(sentinels && bySentinels(sentinels)), ...more };
  if (!cluster) return new (driver.Redis as Construct)(...(url ? [url] : []), options);
  return new (driver.Cluster as Construct)(cluster.nodes, { redisOptions: options });
}

/** As an application is told of it, for tests that ask a lot at once, on a machine that may have other work. */
export function patient(redis: Pick<RedisUnderTest, 'connection'>): RedisConnectionOptions {
  const told = redis.connection();
  return { ...(typeof told === 'string' ? { url: told } : told), commandTimeout: 10_000 };
}

type Sentinels = Exclude<Exclude<RedisConnection, string>['sentinels'], undefined>;

/** As drivers are told. */
function bySentinels(sentinels: Sentinels): object {
  if (!('nodes' in sentinels)) return { sentinels };
  const { name, nodes, username, password } = sentinels;
  return { sentinels: nodes, name, sentinelUsername: username, sentinelPassword: password };
}

/** A client as an application makes it, to be handed in; in a Cluster it is connected to all masters. */
export async function clientFor(redis: RedisUnderTest, more: RedisOptions = {}): Promise<Redis> {
  const client = clientOf({ Redis, Cluster }, redis.connection(), more) as Redis | Cluster;
  client.on('error', () => undefined);
  await client.ping();
  if (client instanceof Cluster) {
    await Promise.all(client.nodes('master').map((node) => node.ping()));
  }
  return client as Redis;
}
