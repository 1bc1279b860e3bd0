import type { Cluster, Redis } from 'ioredis';
import { setTimeout as delay } from 'node:timers/promises';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import {
  createRedis,
  isRedisClient,
  toUnavailable,
  type Durability,
  type RedisClient,
  type RedisConnection,
  type RedisConnectionOptions,
} from './redis-client.js';
import { describeFacts, troubleWith } from './redis-facts.js';
import { RedisSessionStore } from './redis-session.store.js';

/** Milliseconds that booting waits for Redis. */
const BOOT_PATIENCE = 1_000;

/** How to begin. */
export interface OpenRedisStoreOptions {
  readonly keyPrefix: string;
  readonly durability?: Durability | undefined;
  /** For how long it is remembered what was told, in milliseconds. */
  readonly retention?: number | undefined;
  /** A client that was handed in is not used itself, but one like it: others must not write over it. */
  readonly ownConnection?: boolean;
  /** What this node takes for the time, in milliseconds since the epoch. */
  readonly now: () => number;
  /** Go on although Redis does not answer. */
  readonly bootWithoutStore: boolean;
  /** Told once per outage, and at boot of what is wrong with the servers. */
  readonly onTrouble: (message: string) => void;
  /** Told at boot what the servers are. */
  readonly onFacts: (message: string) => void;
}

/**
 * A store over a client that was handed in, which is never closed, or over a connection of its own.
 *
 * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) if Redis does not answer
 */
export async function openRedisStore(
  redis: string | RedisConnectionOptions | RedisClient,
  options: OpenRedisStoreOptions,
): Promise<RedisSessionStore> {
  const { keyPrefix, durability, retention } = options;
  const onTime = clockWatch(options);
  const given = isRedisClient(redis) || typeof redis === 'string' ? redis : (redis.client ?? redis);
  if (isRedisClient(given) && !(options.ownConnection && given.duplicate)) {
    const store = new RedisSessionStore(given, { keyPrefix, durability, retention, onTime });
    return answering(store, given, options);
  }
  const client = isRedisClient(given) ? likeIt(given) : createRedis(given);
  reportOutages(client, options.onTrouble);
  const store = new RedisSessionStore(client as unknown as RedisClient, {
    keyPrefix,
    durability,
    retention,
    onTime,
    close: () => end(client),
  });
  // Behind Sentinels that cannot be reached it would go on trying.
  await Promise.race([connected(client).catch(() => undefined), delay(BOOT_PATIENCE)]);
  return answering(store, client as unknown as RedisClient, options);
}

/** Another connection to where a client goes; replicas tell of nothing. */
const likeIt = (client: RedisClient): Redis | Cluster => {
  const duplicate = client.duplicate?.bind(client) as (...options: unknown[]) => Redis | Cluster;
  return client.nodes ? duplicate([], { scaleReads: 'master' }) : duplicate();
};

/** One like another may be on its way already. */
async function connected(client: Redis | Cluster): Promise<void> {
  if (client.status === 'wait') await client.connect();
}

async function answering(
  store: RedisSessionStore,
  client: RedisClient,
  options: OpenRedisStoreOptions,
): Promise<RedisSessionStore> {
  const { bootWithoutStore, onTrouble } = options;
  const { reason } = (await troubleAtBoot(store)) ?? {};
  if (reason === undefined) {
    await learn(store, options);
    return store;
  }
  if (bootWithoutStore) {
    onTrouble('Redis does not answer: sessions are unavailable (503) until it does.');
    (client as RedisConnection).once('ready', () => void learn(store, options));
    return store;
  }
  await store.close();
  throw new SessionStoreUnavailableError(
    reason,
    'Redis did not answer at boot; check `redis`, or set `bootWithoutStore`',
  );
}

/** Milliseconds by which the clocks of a node and of Redis may differ. */
const CLOCKS_DIFFER = 60_000;

/**
 * Compares the time at Redis with what this node takes for it. A clock that is wrong logs nobody out, as
 * long as others are right; but absolute timeouts and the freshness of logins go by it.
 */
function clockWatch({ now, onTrouble }: OpenRedisStoreOptions): (server: number) => void {
  let wrong = false;
  return (server) => {
    const ahead = now() - server;
    const wasWrong = wrong;
    wrong = Math.abs(ahead) > CLOCKS_DIFFER;
    if (!wrong || wasWrong) return;
    const minutes = Math.round(Math.abs(ahead) / 60_000);
    onTrouble(
      `The clock of this node is ${minutes} minutes ${ahead > 0 ? 'ahead of' : 'behind'} that of Redis: absolute timeouts and the age of logins are wrong by as much. Synchronise the clocks (NTP).`,
    );
  };
}

/** What is better known before the first request. */
async function learn(store: RedisSessionStore, options: OpenRedisStoreOptions): Promise<void> {
  await Promise.all([store.prepare(), report(store, options)]);
}

/** A user of Redis may lack the right to ask, and nothing depends on it. */
async function report(store: RedisSessionStore, options: OpenRedisStoreOptions): Promise<void> {
  const servers = await store.facts().catch(() => []);
  if (servers.length === 0) return;
  options.onFacts(describeFacts(servers));

  troubleWith(servers, options.durability).forEach(options.onTrouble);
}

/** Why Redis does not answer; it may be starting just now, like the application. */
async function troubleAtBoot(
  store: RedisSessionStore,
): Promise<SessionStoreUnavailableError | undefined> {
  const deadline = performance.now() + BOOT_PATIENCE;
  for (;;) {
    try {
      await store.ping();
      return undefined;
    } catch (error) {
      if (performance.now() >= deadline) return toUnavailable(error);
      await delay(100);
    }
  }
}

/** A client without a listener would throw; one with a silent listener would hide the outage. */
export function reportOutages(client: Redis | Cluster, onTrouble: (message: string) => void): void {
  let down = false;
  client.on('error', (error: unknown) => {
    if (!down) onTrouble(`Redis connection: ${toUnavailable(error).message}`);
    down = true;
  });
  client.on('ready', () => {
    down = false;
  });
}

/** Lets replies that are under way arrive, unless there is no connection to wait for. */
export async function end(client: Redis | Cluster): Promise<void> {
  if (client.status === 'ready') await client.quit().catch(() => undefined);
  client.disconnect();
}
