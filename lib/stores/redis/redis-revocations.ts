import type { Cluster, Redis } from 'ioredis';
import { setTimeout as delay } from 'node:timers/promises';
import type {
  PlaceInBucket,
  RevocationAnswer,
  RevocationList,
} from '../../core/revocation-list.interface.js';
import { bucketOfHandle } from '../../core/session-id.js';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import { RedisCalls } from './redis-calls.js';
import {
  createRedis,
  isRedisClient,
  toUnavailable,
  type RedisClient,
  type RedisConnectionOptions,
} from './redis-client.js';

/** How the list begins. */
export interface OpenRedisRevocationsOptions {
  readonly keyPrefix: string;
  /** Go on although Redis does not answer. */
  readonly bootWithoutStore: boolean;
  /** Told once per outage. */
  readonly onTrouble: (message: string) => void;
}

/** What the list calls beside what a store calls; every client of those that a store takes has it. */
interface RevokingClient extends RedisClient {
  mget(...keys: string[]): Promise<(string | null)[]>;
  set(key: string, value: string, px: 'PX', ttl: number, get: 'GET'): Promise<string | null>;
}

/**
 * What was ended, in Redis: one string for each handle, and one for each place where an epoch began, all of a
 * principal in one slot. A question is one MGET; of sessions in which somebody acts as another two, at once.
 */
export class RedisRevocations implements RevocationList {
  readonly #calls: RedisCalls;

  constructor(
    client: RedisClient,
    private readonly keyPrefix: string,
    private readonly end?: () => Promise<void>,
  ) {
    this.#calls = new RedisCalls(client, undefined);
  }

  async ask(handle: string, places: readonly PlaceInBucket[]): Promise<RevocationAnswer> {
    const bucket = bucketOfHandle(handle);
    const near = places.filter((at) => at.bucket === bucket);
    const far = places.filter((at) => at.bucket !== bucket);
    const [own, ...others] = await Promise.all([
      this.#read([this.#entry(handle), ...near.map((at) => this.#epoch(at))]),
      ...far.map((at) => this.#read([this.#epoch(at)])),
    ]);
    const found = new Map<PlaceInBucket, string | undefined>([
      ...near.map((at, i) => [at, own[i + 1]] as const),
      ...far.map((at, i) => [at, others[i]?.[0]] as const),
    ]);
    return { entry: own[0], epochs: places.map((at) => found.get(at)) };
  }

  async note(handle: string, entry: string, ttl: number): Promise<string | undefined> {
    return (await this.#write(this.#entry(handle), entry, ttl)) ?? undefined;
  }

  async begin(at: PlaceInBucket, epoch: string, ttl: number): Promise<void> {
    await this.#write(this.#epoch(at), epoch, ttl);
  }

  async ping(): Promise<void> {
    await this.#calls.bounded(this.#calls.client.ping());
  }

  async close(): Promise<void> {
    await this.#calls.close();
    await this.end?.();
  }

  async #read(keys: string[]): Promise<(string | undefined)[]> {
    const found = await this.#calls.bounded(this.#client.mget(...keys));
    return found.map((one) => one ?? undefined);
  }

  /** Tells what was there. */
  #write(key: string, value: string, ttl: number): Promise<string | null> {
    const life = Math.max(1, Math.ceil(ttl));
    return this.#calls.bounded(this.#client.set(key, value, 'PX', life, 'GET'));
  }

  get #client(): RevokingClient {
    return this.#calls.client as RevokingClient;
  }

  #entry(handle: string): string {
    return `{${this.keyPrefix}:${bucketOfHandle(handle)}}:r:${handle}`;
  }

  /** Names of places tell no values, only digests. */
  #epoch({ bucket, place }: PlaceInBucket): string {
    return `{${this.keyPrefix}:${bucket}}:v:${place}`;
  }
}

/** Milliseconds that booting waits for Redis. */
const BOOT_PATIENCE = 1_000;

/**
 * The list over a client that was handed in, which is never closed, or over a connection of its own.
 *
 * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) if Redis does not answer
 */
export async function openRedisRevocations(
  redis: string | RedisConnectionOptions | RedisClient,
  options: OpenRedisRevocationsOptions,
): Promise<RedisRevocations> {
  const given = isRedisClient(redis) || typeof redis === 'string' ? redis : (redis.client ?? redis);
  if (isRedisClient(given))
    return answering(new RedisRevocations(given, options.keyPrefix), options);
  const client = createRedis(given);
  reportOutages(client, options.onTrouble);
  const list = new RedisRevocations(client as unknown as RedisClient, options.keyPrefix, () =>
    end(client),
  );
  await Promise.race([client.connect().catch(() => undefined), delay(BOOT_PATIENCE)]);
  return answering(list, options);
}

async function answering(
  list: RedisRevocations,
  { bootWithoutStore, onTrouble }: OpenRedisRevocationsOptions,
): Promise<RedisRevocations> {
  const trouble = await troubleAtBoot(list);
  if (!trouble) return list;
  if (bootWithoutStore) {
    onTrouble(
      'The list of revoked sessions does not answer: sessions are unavailable (503) until it does.',
    );
    return list;
  }
  await list.close();
  throw new SessionStoreUnavailableError(
    trouble.reason,
    'Redis did not answer at boot; check `revocation.redis`, or set `bootWithoutStore`',
  );
}

/** It may be starting just now, like the application. */
async function troubleAtBoot(
  list: RedisRevocations,
): Promise<SessionStoreUnavailableError | undefined> {
  const deadline = performance.now() + BOOT_PATIENCE;
  for (;;) {
    try {
      await list.ping();
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
    if (!down) onTrouble(`Redis connection (revocations): ${toUnavailable(error).message}`);
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
