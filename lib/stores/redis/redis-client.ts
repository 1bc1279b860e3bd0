import { Cluster, Redis, type ClusterOptions, type RedisOptions } from 'ioredis';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import type { Corkable } from './one-write-a-turn.js';

/** What the store calls on a client: ioredis 5 and 6, iovalkey, alone or as a Cluster. */
export interface RedisClient {
  readonly status: string;
  readonly options?: { readonly commandTimeout?: number; readonly keyPrefix?: string };
  get(key: string): Promise<string | null>;
  getex(key: string, px: 'PX', ttl: number): Promise<string | null>;
  getdel(key: string): Promise<string | null>;
  pexpire(key: string, ttl: number): Promise<number>;
  evalsha(sha: string, keys: number, ...args: (string | number)[]): Promise<unknown>;
  eval(script: string, keys: number, ...args: (string | number)[]): Promise<unknown>;
  getrange(key: string, start: number, end: number): Promise<string>;
  ping(): Promise<string>;
  info(...sections: string[]): Promise<string>;
  scan(
    cursor: string,
    match: 'MATCH',
    pattern: string,
    count: 'COUNT',
    size: number,
  ): Promise<[string, string[]]>;
  /** The socket, while there is one; a Cluster has several, and none here. */
  readonly stream?: Corkable;
  /** A Cluster has it. */
  nodes?(role: 'master'): RedisClient[];
}

/** How the library's own connection is made: anything ioredis takes (`tls`, `sentinels` …), a URL, or a Cluster. */
export interface RedisConnectionOptions extends RedisOptions {
  /** `redis://` or `rediss://`; wins over `host`, `port` and the like. */
  url?: string;
  /** A Redis Cluster; what else is given (`username`, `password`, `tls` …) is for each of its nodes. */
  cluster?: RedisClusterOptions;
}

/** A Redis Cluster. */
export interface RedisClusterOptions extends Omit<ClusterOptions, 'redisOptions' | 'lazyConnect'> {
  /** Some of its nodes, as URLs or as host and port: they tell of the others. */
  nodes: readonly (string | { readonly host: string; readonly port?: number })[];
}

/** Milliseconds after which a command without an answer counts as failed. */
export const COMMAND_TIMEOUT = 500;

/**
 * What the library tells ioredis about its own connection. By default a command on a stopped Redis
 * hangs for over a minute, on a frozen one for ever; a request must get its answer now.
 */
const PROFILE: RedisOptions = {
  commandTimeout: COMMAND_TIMEOUT,
  connectTimeout: 1_000,
  // Longer than a command may take: a socket that stays silent for this long is dead.
  socketTimeout: 2 * COMMAND_TIMEOUT + 100,
  maxRetriesPerRequest: 1,
  // While there is no connection, fail at once instead of piling up requests.
  enableOfflineQueue: false,
  failoverDetector: true,
  // By default a process that ends in an outage waits two seconds for a socket that is gone already.
  disconnectTimeout: 100,
  retryStrategy: (times) => Math.min(500, 50 * times) * (0.5 + Math.random() / 2),
  // A replica after a failover: connect anew, to where the master is now, and send again.
  reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false),
};

/** True for a client that an application made itself. */
export function isRedisClient(value: unknown): value is RedisClient {
  const client = value as Partial<Record<'getex' | 'evalsha' | 'status', unknown>> | null;
  return (
    typeof client === 'object' &&
    client !== null &&
    typeof client.getex === 'function' &&
    typeof client.evalsha === 'function' &&
    typeof client.status === 'string'
  );
}

/**
 * The same for a Cluster. A command is led to where its slot is now, at once; while a slot has no
 * master, or is under way, it is tried again within its time, and then fails.
 */
const CLUSTER_PROFILE: ClusterOptions = {
  enableOfflineQueue: false,
  scaleReads: 'master',
  retryDelayOnFailover: 50,
  retryDelayOnClusterDown: 50,
  retryDelayOnTryAgain: 20,
  slotsRefreshTimeout: 1_000,
  slotsRefreshInterval: 5_000,
  clusterRetryStrategy: (times) => Math.min(500, 50 * times) * (0.5 + Math.random() / 2),
};

/** The library's own connection, not yet connected. */
export function createRedis(options: string | RedisConnectionOptions): Redis | Cluster {
  const { url, cluster, ...rest } = typeof options === 'string' ? { url: options } : options;
  const all: RedisOptions = { ...PROFILE, ...rest, lazyConnect: true };
  if (cluster) return createCluster(cluster, all);
  return url === undefined ? new Redis(all) : new Redis(url, all);
}

function createCluster({ nodes, ...options }: RedisClusterOptions, all: RedisOptions): Cluster {
  const { retryStrategy: _, enableOfflineQueue: __, keyPrefix, ...redisOptions } = all;
  return new Cluster([...nodes] as ConstructorParameters<typeof Cluster>[0], {
    ...CLUSTER_PROFILE,
    ...(keyPrefix !== undefined && { keyPrefix }),
    ...options,
    redisOptions: redisOptions as ClusterOptions['redisOptions'],
    lazyConnect: true,
  });
}

/**
 * An error of the driver as one of ours. The driver's own carries the command with its arguments,
 * that is handles and session data: it must not travel on.
 */
export function toUnavailable(error: unknown): SessionStoreUnavailableError {
  if (error instanceof SessionStoreUnavailableError) return error;
  const {
    name = '',
    message = '',
    code,
  } = error as { name?: string; message?: string; code?: string };
  if (name === 'ReplyError') {
    return new SessionStoreUnavailableError(/^[A-Z]+/.exec(message)?.[0] ?? 'error reply');
  }
  if (/timed out|timeout/i.test(message)) return new SessionStoreUnavailableError('timeout');
  return new SessionStoreUnavailableError(code ?? 'no connection');
}
