import { randomBytes } from 'node:crypto';
import type { Duration, OnLimit } from 'nestjs-distributed-session';
import { Secret } from 'otpauth';

/** What the environment says about this process. */
export interface Settings {
  /** `ADAPTER`: `express` or `fastify`. @default express */
  readonly adapter: 'express' | 'fastify';
  /** `HOST`. @default 127.0.0.1 */
  readonly host: string;
  /** `PORT`; 0 takes a free one. @default 3000 */
  readonly port: number;
  /** `STORE`: where sessions live, one of {@link STORES}. @default redis, or memory without a redis-server */
  readonly store: Store | undefined;
  /** `DATABASE_URL` for `sql` and `tiered`: postgres://, mysql:// or the path of a SQLite file. @default a SQLite file of this process */
  readonly databaseUrl: string | undefined;
  /** `SESSION_DIRECTORY` for `file`. @default one of this process */
  readonly sessionDirectory: string | undefined;
  /** `REDIS_URL`. @default none: a redis-server of the shop's own, else memory */
  readonly redisUrl: string | undefined;
  /** `REDIS_SENTINELS`: host:port, separated by commas; asked where the master is. @default none */
  readonly redisSentinels: readonly RedisAddress[] | undefined;
  /** `REDIS_MASTER_NAME`, as the Sentinels call it. @default mymaster */
  readonly redisMasterName: string;
  /** `REDIS_CLUSTER_NODES`: host:port of some nodes of a Cluster, separated by commas. @default none */
  readonly redisClusterNodes: readonly RedisAddress[] | undefined;
  /** `REDIS_OPTIONAL=1` boots without Redis and answers 503 until it is there. @default off: fail fast */
  readonly redisOptional: boolean;
  /** `SESSION_SECRET`, the same on all nodes. @default a random one, until the process ends */
  readonly secret: string;
  readonly secretIsRandom: boolean;
  /** `ALLOW_HTTP`: cookies without `Secure`, for plain http on this machine. @default on outside production */
  readonly allowHttp: boolean;
  /** `ROUTING_COOKIE`: name of a cookie that a load balancer may go by. @default none */
  readonly routingCookie: string | undefined;
  /** `TRUST_PROXY`: addresses of load balancers, whose `X-Forwarded-*` count. @default none */
  readonly trustProxy: string | undefined;
  /** `IDLE_TIMEOUT`, for example `10m`. @default the library's */
  readonly idleTimeout: Duration | undefined;
  /** `MAX_SESSIONS` of a user. @default no limit */
  readonly maxSessions: number | undefined;
  /** `ON_LIMIT`: `reject`, `retire-oldest` or `retire-least-recently-used`. @default the library's */
  readonly onLimit: OnLimit | undefined;
  /** `TOTP_SECRET` in base32, the same on all nodes. @default a random one, until the process ends */
  readonly totpSecret: Secret;
  readonly totpSecretIsRandom: boolean;
}

export const STORES = ['redis', 'memory', 'sql', 'tiered', 'cookie', 'jwt', 'file'] as const;
export type Store = (typeof STORES)[number];

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
}

/** Bytes that RFC 4226 asks for at least. */
const SHORTEST_TOTP_SECRET = 16;

/** Reads the environment; a variable that is set to nothing counts as not set. */
export function readSettings(environment: NodeJS.ProcessEnv): Settings {
  const given = (name: string): string | undefined => environment[name]?.trim() || undefined;
  const secret = given('SESSION_SECRET');
  const maxSessions = given('MAX_SESSIONS');
  const totpSecret = given('TOTP_SECRET');
  return {
    adapter: adapterFrom(given('ADAPTER') ?? 'express'),
    host: given('HOST') ?? '127.0.0.1',
    port: portFrom(given('PORT') ?? '3000'),
    store: storeFrom(given('STORE')),
    databaseUrl: given('DATABASE_URL'),
    sessionDirectory: given('SESSION_DIRECTORY'),
    redisUrl: given('REDIS_URL'),
    redisSentinels: addressesFrom('REDIS_SENTINELS', given('REDIS_SENTINELS')),
    redisMasterName: given('REDIS_MASTER_NAME') ?? 'mymaster',
    redisClusterNodes: addressesFrom('REDIS_CLUSTER_NODES', given('REDIS_CLUSTER_NODES')),
    redisOptional: given('REDIS_OPTIONAL') === '1',
    secret: secret ?? randomBytes(32).toString('base64url'),
    secretIsRandom: secret === undefined,
    allowHttp: (given('ALLOW_HTTP') ?? (given('NODE_ENV') === 'production' ? '0' : '1')) === '1',
    trustProxy: given('TRUST_PROXY'),
    // The library checks these, and says what is wrong with them.
    routingCookie: given('ROUTING_COOKIE'),
    idleTimeout: given('IDLE_TIMEOUT') as Duration | undefined,
    maxSessions: maxSessions === undefined ? undefined : Number(maxSessions),
    onLimit: given('ON_LIMIT') as OnLimit | undefined,
    totpSecret: totpSecret === undefined ? new Secret() : totpSecretFrom(totpSecret),
    totpSecretIsRandom: totpSecret === undefined,
  };
}

function adapterFrom(value: string): Settings['adapter'] {
  if (value === 'express' || value === 'fastify') return value;
  throw new Error(`ADAPTER is "${value}": use express or fastify.`);
}

function storeFrom(value: string | undefined): Store | undefined {
  const store = STORES.find((one) => one === value);
  if (store || value === undefined) return store;
  throw new Error(`STORE is "${value}": use ${STORES.join(', ')}.`);
}

function portFrom(value: string): number {
  const port = Number(value);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new Error(`PORT is "${value}": use a number from 0 (any free port) to 65535.`);
}

function addressesFrom(name: string, list: string | undefined): RedisAddress[] | undefined {
  return list?.split(',').map((entry) => {
    const [, host, port] = /^\s*([\w.-]+):(\d{1,5})\s*$/.exec(entry) ?? [];
    if (host !== undefined) return { host, port: Number(port) };
    throw new Error(`${name} has "${entry}": use host:port, separated by commas.`);
  });
}

/** Does not repeat what was given: it may be nearly right. */
function totpSecretFrom(value: string): Secret {
  try {
    const secret = Secret.fromBase32(value);
    if (secret.bytes.length >= SHORTEST_TOTP_SECRET) return secret;
  } catch {
    // Not base32: as bad as too short.
  }
  throw new Error('TOTP_SECRET: use base32 (A to Z, 2 to 7) of at least 26 characters.');
}
