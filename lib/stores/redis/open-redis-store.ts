import type { Redis } from 'ioredis';
import { setTimeout as delay } from 'node:timers/promises';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import {
  createRedis,
  isRedisClient,
  toUnavailable,
  type RedisClient,
  type RedisConnectionOptions,
} from './redis-client.js';
import { RedisSessionStore } from './redis-session.store.js';

/** Milliseconds that booting waits for Redis. */
const BOOT_PATIENCE = 1_000;

/** How to begin. */
export interface OpenRedisStoreOptions {
  readonly keyPrefix: string;
  /** Go on although Redis does not answer. */
  readonly bootWithoutStore: boolean;
  /** Told once per outage. */
  readonly onTrouble: (message: string) => void;
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
  const store = new RedisSessionStore(client as RedisClient, { keyPrefix, close });
  await client.connect().catch(() => undefined);
  return answering(store, options);
}

async function answering(
  store: RedisSessionStore,
  { bootWithoutStore, onTrouble }: OpenRedisStoreOptions,
): Promise<RedisSessionStore> {
  const { reason } = (await troubleAtBoot(store)) ?? {};
  if (reason === undefined) return store;
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
function reportOutages(client: Redis, onTrouble: (message: string) => void): void {
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
async function end(client: Redis): Promise<void> {
  if (client.status === 'ready') await client.quit().catch(() => undefined);
  client.disconnect();
}
