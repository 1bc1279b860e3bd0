import type { Cluster, Redis } from 'ioredis';
import { setTimeout as delay } from 'node:timers/promises';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import {
  createRedis,
  isRedisClient,
  toUnavailable,
  type RedisClient,
  type RedisConnectionOptions,
} from './redis-client.js';
import { describeFacts, troubleWith } from './redis-facts.js';
import { RedisSessionStore } from './redis-session.store.js';

/** Milliseconds that booting waits for Redis. */
const BOOT_PATIENCE = 1_000;

/** How to begin. */
export interface OpenRedisStoreOptions {
  readonly keyPrefix: string;
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
  const { keyPrefix } = options;
  if (isRedisClient(redis)) {
    return answering(new RedisSessionStore(redis, { keyPrefix }), options);
  }
  const client = createRedis(redis);
  reportOutages(client, options.onTrouble);
  const close = () => end(client);
  const store = new RedisSessionStore(client as unknown as RedisClient, { keyPrefix, close });
  await client.connect().catch(() => undefined);
  return answering(store, options);
}

async function answering(
  store: RedisSessionStore,
  options: OpenRedisStoreOptions,
): Promise<RedisSessionStore> {
  const { bootWithoutStore, onTrouble } = options;
  const { reason } = (await troubleAtBoot(store)) ?? {};
  if (reason === undefined) {
    await report(store, options);
    return store;
  }
  if (bootWithoutStore) {
    onTrouble('Redis does not answer: sessions are unavailable (503) until it does.');
    return store;
  }
  await store.close();
  throw new SessionStoreUnavailableError(
    reason,
    'Redis did not answer at boot; check `redis`, or set `bootWithoutStore`',
  );
}

/** A user of Redis may lack the right to ask, and nothing depends on it. */
async function report(store: RedisSessionStore, options: OpenRedisStoreOptions): Promise<void> {
  const servers = await store.facts().catch(() => []);
  if (servers.length === 0) return;
  options.onFacts(describeFacts(servers));
  troubleWith(servers).forEach(options.onTrouble);
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
function reportOutages(client: Redis | Cluster, onTrouble: (message: string) => void): void {
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
async function end(client: Redis | Cluster): Promise<void> {
  if (client.status === 'ready') await client.quit().catch(() => undefined);
  client.disconnect();
}
