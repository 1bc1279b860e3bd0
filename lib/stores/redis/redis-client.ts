import type { EventEmitter } from 'node:events';
import { Cluster, Redis, type ClusterOptions, type RedisOptions } from 'ioredis';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import type { Corkable } from './one-write-a-turn.js';

/** What the store calls on a client: ioredis 5 and 6, iovalkey, alone or as a Cluster. */
export interface RedisClient {
  readonly status: string;
  readonly options?: {
    readonly commandTimeout?: number;
    readonly keyPrefix?: string;
    readonly host?: string;
    readonly port?: number;
    readonly natMap?: ClusterOptions['natMap'];
    readonly redisOptions?: { readonly commandTimeout?: number };
  };
  get(key: string): Promise<string | null>;
  getex(key: string, px: 'PX', ttl: number): Promise<string | null>;
  getdel(key: string): Promise<string | null>;
  pexpire(key: string, ttl: number): Promise<number>;
  evalsha(sha: string, keys: number, ...args: (string | number)[]): Promise<unknown>;
  eval(script: string, keys: number, ...args: (string | number)[]): Promise<unknown>;
  getrange(key: string, start: number, end: number): Promise<string>;
  ping(): Promise<string>;
  time(): Promise<readonly (string | number)[]>;
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
  nodes?(role: 'master' | 'all'): RedisClient[];
  /** Of a node of a Cluster. */
  asking?(): Promise<unknown>;
  /** Tells of nodes of a Cluster, and of the connection. */
  on?(...args: never[]): unknown;
  once?(...args: never[]): unknown;
  /** Any command. */
  call?(command: string, ...args: (string | number)[]): Promise<unknown>;
  /** What is confirmed by replicas goes over connections of its own. */
  duplicate?(...args: never[]): unknown;
}

/** A connection that the store opens beside a client. */
export interface RedisConnection extends Omit<RedisClient, 'on' | 'once'>, EventEmitter {
  connect(): Promise<void>;
  disconnect(): void;
  wait(replicas: number, timeout: number): Promise<number>;
  asking(): Promise<unknown>;
  subscribe(channel: string): Promise<unknown>;
  ssubscribe(channel: string): Promise<unknown>;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
}

/**
 * Where Redis is, and how the library connects to it: one of `url`, `host`, `path`, `cluster`,
 * `sentinels` and `client`; beside it anything that ioredis takes.
 */
export interface RedisConnectionOptions extends Omit<RedisOptions, 'sentinels' | 'tls'> {
  /** `redis://`, or `rediss://` for TLS. */
  url?: string;
  /** A Redis Cluster; what else is given (`username`, `password`, `tls` …) is for each of its nodes. */
  cluster?: RedisClusterOptions;
  /** Sentinels, which tell where the master is; what else is given is for the master. */
  sentinels?: RedisSentinelOptions | RedisOptions['sentinels'];
  /** TLS, with the certificates that Node trusts, or options of `tls.connect` such as `{ ca }`. */
  tls?: true | RedisOptions['tls'];
  /** A client of ioredis 5, ioredis 6 or iovalkey, instead of all else: it is never closed. */
  client?: RedisClient;
}

/** A node of Redis: a URL, or host and port. */
export type RedisNode = string | { readonly host: string; readonly port?: number };

/** Sentinels. */
export interface RedisSentinelOptions {
  /** What they call the master. */
  name: string;
  /** Some of them. */
  nodes: readonly RedisNode[];
  username?: string;
  password?: string;
  /** TLS to the sentinels themselves. */
  tls?: true | RedisOptions['sentinelTLS'];
}

/** A Redis Cluster. */
export interface RedisClusterOptions extends Omit<ClusterOptions, 'redisOptions' | 'lazyConnect'> {
  /** Some of its nodes, as URLs or as host and port: they tell of the others. */
  nodes: readonly RedisNode[];
}

/** When a write about who is logged in counts as done. */
export interface Durability {
  /** Replicas that must have it. */
  readonly replicas: number;
  /** Milliseconds that they have for it. */
  readonly timeout: number;
  /** It must be on disk, too: at the master, and at as many replicas. */
  readonly fsync: boolean;
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
  const given: RedisConnectionOptions = typeof options === 'string' ? { url: options } : options;
  const { url, cluster, sentinels, tls, client: _, ...rest } = given;
  const all: RedisOptions = {
    ...PROFILE,
    ...rest,
    ...(tls && { tls: tls === true ? {} : tls }),
    ...(sentinels && {
      ...sentinelOptions(sentinels),
      enableTLSForSentinelMode: Boolean(tls),
    }),
    lazyConnect: true,
  };
  if (cluster) return createCluster(cluster, all);
  return url === undefined ? new Redis(all) : new Redis(url, all);
}

/** As ioredis wants them. */
function sentinelOptions(given: NonNullable<RedisConnectionOptions['sentinels']>): RedisOptions {
  if (Array.isArray(given)) return { sentinels: given };
  const { name, nodes, username, password, tls } = given as RedisSentinelOptions;
  return {
    name,
    sentinels: nodes.map(addressOf),
    ...(username !== undefined && { sentinelUsername: username }),
    ...(password !== undefined && { sentinelPassword: password }),
    ...((tls ?? nodes.some(isSecure)) && { sentinelTLS: typeof tls === 'object' ? tls : {} }),
  };
}

const isSecure = (node: RedisNode): boolean =>
  typeof node === 'string' && node.startsWith('rediss:');

function addressOf(node: RedisNode): { host: string; port: number } {
  const { host, port = 26_379 } = typeof node === 'string' ? partsOf(node) : node;
  return { host, port };
}

function partsOf(url: string) {
  const { hostname, port } = new URL(url);
  // An address of IPv6 stands in brackets in a URL, and nowhere else.
  return { host: hostname.replace(/^\[|\]$/g, ''), ...(port && { port: Number(port) }) };
}

function createCluster({ nodes, ...options }: RedisClusterOptions, all: RedisOptions): Cluster {
  const { retryStrategy: _, enableOfflineQueue: __, keyPrefix, ...redisOptions } = all;
  // The URL of one node does not speak for those that it tells of.
  if (nodes.some(isSecure)) redisOptions.tls ??= {};
  return new Cluster([...nodes] as ConstructorParameters<typeof Cluster>[0], {
    ...CLUSTER_PROFILE,
    ...(keyPrefix !== undefined && { keyPrefix }),
    ...options,
    redisOptions: redisOptions as ClusterOptions['redisOptions'],
    lazyConnect: true,
  });
}

/** A script is let in, and what it does is not; newer servers say NOPERM themselves. */
const REFUSED_IN_SCRIPT = /ACL failure in script|executing the script can't/;

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
    const code = /^[A-Z]+/.exec(message)?.[0] ?? 'error reply';
    const reason = REFUSED_IN_SCRIPT.test(message) ? 'NOPERM' : code;
    return new SessionStoreUnavailableError(reason, undefined, true);
  }
  // A Cluster that has led to and fro for long enough says so in words of its own.
  const [, last] = /Last error: (?:ReplyError: )?([A-Z]{3,})/.exec(message) ?? [];
  if (last) return new SessionStoreUnavailableError(last, undefined, true);
  if (/timed out|timeout/i.test(message)) return new SessionStoreUnavailableError('timeout');
  return new SessionStoreUnavailableError(code ?? 'no connection');
}
