import { setTimeout as delay } from 'node:timers/promises';
import { bucketOfHandle } from '../../core/session-id.js';
import type { Place } from '../../core/session-places.js';
import { LIVE } from '../../core/session-record.js';
import {
  VERSION_LENGTH,
  type Admission,
  type CreateOptions,
  type EndedInPlace,
  type IndexedSessionStore,
  type LoadedValue,
  type LoadOptions,
  type PlacedValue,
  type PlaceLimit,
  type PlaceRange,
  type ReplaceOptions,
  type SaveOptions,
  type SaveOutcome,
  type StoredValue,
} from '../../core/session-store.interface.js';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import { OneWriteATurn } from './one-write-a-turn.js';
import { COMMAND_TIMEOUT, toUnavailable, type RedisClient } from './redis-client.js';
import { factsIn, type RedisFacts } from './redis-facts.js';
import { RedisKeys } from './redis-keys.js';
import * as scripts from './redis-scripts.js';

/** How the store uses a client. */
export interface RedisStoreOptions {
  /** First part of every key. @default 'sess' */
  keyPrefix?: string;
  /** Closes the client, if it belongs to the store. */
  close?: () => Promise<void>;
}

/** What a node of a Cluster says of keys of a slot that is being moved, if a script comes to them. */
const UNDER_WAY = /non local key|TRYAGAIN/;

/** Entries of a place that one script ends or counts: Redis answers others in between. */
const BATCH = 500;

/**
 * Sessions in Redis: one string each, and a sorted set of handles for each place. Every verb is one
 * command; emptying and counting places, and walking the key space, are some.
 */
export class RedisSessionStore implements IndexedSessionStore {
  readonly #client: RedisClient;
  readonly #keys: RedisKeys;
  readonly #deadline: number | undefined;
  readonly #writes = new OneWriteATurn();
  readonly close: () => Promise<void>;

  constructor(client: RedisClient, { keyPrefix = 'sess', close }: RedisStoreOptions = {}) {
    this.#client = client;
    this.#keys = new RedisKeys(keyPrefix);
    this.#deadline = client.options?.commandTimeout === undefined ? COMMAND_TIMEOUT : undefined;
    this.close = close ?? (async () => {});
  }

  /** A store over the same client that keeps other sessions. */
  withPrefix(keyPrefix: string): RedisSessionStore {
    return new RedisSessionStore(this.#client, { keyPrefix });
  }

  async load(handle: string, options: LoadOptions = {}): Promise<LoadedValue | undefined> {
    const key = this.#keys.record(handle);
    const { touch } = options;
    if (touch !== undefined) {
      const value = await this.#bounded(this.#redis.getex(key, 'PX', touch));
      return value === null ? undefined : { value, remaining: touch };
    }
    if (options.remaining) {
      const [value, remaining] = (await this.#run(scripts.LOAD_REMAINING, [key])) as [
        string?,
        number?,
      ];
      return value === undefined ? undefined : { value, remaining: Number(remaining) };
    }
    const value = await this.#bounded(this.#redis.get(key));
    return value === null ? undefined : { value };
  }

  async create(handle: string, value: StoredValue, options: CreateOptions): Promise<boolean> {
    const [keys, args] = this.#newRecord(handle, value, options);
    return Number(await this.#run(scripts.CREATE, keys, ...args)) === 1;
  }

  async admit(
    handle: string,
    value: StoredValue,
    { limit, ...options }: CreateOptions & { readonly limit: PlaceLimit },
  ): Promise<Admission> {
    const [keys, args] = this.#newRecord(handle, value, options);
    // Lua counts from 1, and the record is the first.
    const limited = (options.standing?.places.indexOf(limit.place) ?? -1) + 2;
    const [status, ...retired] = (await this.#run(
      scripts.ADMIT,
      keys,
      ...args,
      limited,
      limit.max,
      limit.onLimit,
      limit.idleTimeout,
      limit.lastingIdleTimeout,
    )) as [number, ...string[]];
    if (Number(status) === 1) return { status: 'created', retired };
    return { status: Number(status) === 2 ? 'full' : 'taken' };
  }

  async save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome> {
    const { expected, ttl = '', standing, leaves = [] } = options;
    const record = this.#keys.record(handle);
    const args = [expected, value, ttl];
    if (!standing && leaves.length === 0) {
      return outcomeOf(await this.#run(scripts.SAVE, [record], ...args));
    }
    const { places = [], since = 0, life = 0 } = standing ?? {};
    const keys = [record, ...this.#places(handle, leaves), ...this.#places(handle, places)];
    const moved = [handle, since, life, leaves.length];
    return outcomeOf(await this.#run(scripts.SAVE_AND_MOVE, keys, ...args, ...moved));
  }

  async replace(handle: string, value: StoredValue, options: ReplaceOptions) {
    const { expected, ttl, leaves, next } = options;
    const { places, since, life } = next.standing;
    const keys = [
      this.#keys.record(handle),
      this.#keys.record(next.handle),
      ...this.#places(handle, leaves),
      ...this.#places(handle, places),
    ];
    const both = [expected, value, ttl, next.value, next.ttl, handle, next.handle];
    const moved = [since, life, leaves.length];
    const reply = await this.#run(scripts.REPLACE, keys, ...both, ...moved);
    return String(reply) === '2' ? { status: 'taken' as const } : outcomeOf(reply);
  }

  async touch(handle: string, ttl: number): Promise<boolean> {
    const key = this.#keys.record(handle);
    return Number(await this.#bounded(this.#redis.pexpire(key, ttl))) === 1;
  }

  async delete(handle: string, leaves: readonly Place[] = []): Promise<StoredValue | undefined> {
    const record = this.#keys.record(handle);
    const value =
      leaves.length === 0
        ? await this.#bounded(this.#redis.getdel(record))
        : await this.#run(scripts.DELETE, [record, ...this.#places(handle, leaves)], handle);
    return (value as StoredValue | null) ?? undefined;
  }

  async list(bucket: string, place: Place, range: PlaceRange): Promise<PlacedValue[]> {
    const { limit, after } = range;
    const key = this.#keys.place(bucket, place);
    const args = [place, limit, after?.handle ?? '', after?.since ?? ''];
    const reply = (await this.#run(scripts.LIST, [key], ...args)) as (string | number)[];
    return Array.from({ length: reply.length / 4 }, (_, i) => {
      const [handle, since, head, remaining] = reply.slice(4 * i, 4 * i + 4);
      return {
        handle: String(handle),
        since: Number(since),
        head: String(head),
        remaining: Number(remaining),
      };
    });
  }

  async countIn(bucket: string, place: Place): Promise<number> {
    const key = this.#keys.place(bucket, place);
    let count = 0;
    for (let from = 0, more = true; more;) {
      const reply = await this.#run(scripts.COUNT_IN, [key], place, from, BATCH);
      const [live, dropped, seen] = (reply as unknown[]).map(Number) as [number, number, number];
      count += live;
      from += seen - dropped;
      more = seen === BATCH;
    }
    return count;
  }

  async endIn(bucket: string, place: Place, except = ''): Promise<EndedInPlace> {
    const keys = [this.#keys.place(bucket, place), this.#keys.ending(bucket, place)];
    let ended = 0;
    const pointers: StoredValue[] = [];
    for (let left = 1, begin = 1; left > 0; begin = 0) {
      const reply = await this.#run(scripts.END_IN, keys, place, BATCH, begin, except);
      const [rest, lived, ...found] = reply as [number, number, ...StoredValue[]];
      left = Number(rest);
      ended += Number(lived);
      pointers.push(...found);
    }
    return { ended, pointers };
  }

  /** Walks the key space, as {@link count} does. */
  async *placesOf(index: string): AsyncGenerator<{ bucket: string; place: Place }> {
    for (const node of this.#masters) {
      for await (const keys of this.#scan(node, this.#keys.indexPattern(index))) {
        yield* keys.map((key) => this.#keys.placeOf(key));
      }
    }
  }

  /** Walks the key space with SCAN, on every master; never KEYS. */
  async count(): Promise<number> {
    const counts = await Promise.all(this.#masters.map((node) => this.#countOn(node)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** What the servers tell of themselves; every master of a Cluster. */
  async facts(): Promise<RedisFacts[]> {
    const told = await Promise.all(this.#masters.map((node) => this.#bounded(node.info())));
    return told.map(factsIn);
  }

  async ping(): Promise<void> {
    await this.#bounded(this.#redis.ping());
  }

  get #masters(): RedisClient[] {
    return this.#client.nodes?.('master') ?? [this.#client];
  }

  async #countOn(node: RedisClient): Promise<number> {
    // SCAN may tell a key twice.
    const live = new Set<string>();
    for await (const keys of this.#scan(node, this.#keys.recordPattern)) {
      await Promise.all(keys.map(async (key) => (await this.#isLive(key)) && live.add(key)));
    }
    return live.size;
  }

  /** Keys as this store names them; the server has them with the client's prefix. */
  async *#scan(node: RedisClient, pattern: string): AsyncGenerator<string[]> {
    const clientPrefix = this.#client.options?.keyPrefix ?? '';
    let cursor = '0';
    do {
      const page = node.scan(cursor, 'MATCH', clientPrefix + pattern, 'COUNT', 1_000);
      const [next, keys] = await this.#bounded(page);
      yield keys.map((key) => key.slice(clientPrefix.length));
      cursor = String(next);
    } while (cursor !== '0');
  }

  async #isLive(key: string): Promise<boolean> {
    const kind = this.#redis.getrange(key, VERSION_LENGTH, VERSION_LENGTH);
    return (await this.#bounded(kind)) === LIVE;
  }

  /** The client, to send a command now. */
  get #redis(): RedisClient {
    this.#writes.begin(this.#client.stream);
    return this.#client;
  }

  #newRecord(handle: string, value: StoredValue, { ttl, standing }: CreateOptions) {
    const { places = [], since = 0, life = 0 } = standing ?? {};
    const keys = [this.#keys.record(handle), ...this.#places(handle, places)];
    return [keys, [value, ttl, handle, since, life]] as const;
  }

  #places(handle: string, places: readonly Place[]): string[] {
    const bucket = bucketOfHandle(handle);
    return places.map((place) => this.#keys.place(bucket, place));
  }

  #run(
    { sha, source }: scripts.RedisScript,
    keys: readonly string[],
    ...args: (string | number)[]
  ): Promise<unknown> {
    const until = performance.now() + COMMAND_TIMEOUT;
    const run = (): Promise<unknown> =>
      this.#redis
        .evalsha(sha, keys.length, ...keys, ...args)
        .catch((error: Error) => {
          if (!error.message.startsWith('NOSCRIPT')) throw error;
          return this.#redis.eval(source, keys.length, ...keys, ...args);
        })
        .catch(async (error: Error) => {
          // A record that a place names is on its way to another node already, or not yet there.
          if (!UNDER_WAY.test(error.message) || performance.now() >= until) throw error;
          await delay(20);
          return run();
        });
    return this.#bounded(run());
  }

  /** Every failure leaves here as ours, and in time even from a client that would wait for ever. */
  #bounded<T>(reply: Promise<T>): Promise<T> {
    return (this.#deadline === undefined ? reply : inTime(reply, this.#deadline)).catch(refuse);
  }
}

/** A record is longer than an integer, and a client may give integers as strings. */
function outcomeOf(reply: unknown): SaveOutcome {
  if (typeof reply === 'string' && reply.length > 1) return { status: 'conflict', current: reply };
  return { status: Number(reply) === 1 ? 'saved' : 'gone' };
}

function refuse(error: unknown): never {
  throw toUnavailable(error);
}

async function inTime<T>(reply: Promise<T>, deadline: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new SessionStoreUnavailableError('timeout');
    timer = setTimeout(() => reject(error), deadline);
  });
  try {
    return await Promise.race([reply, late]);
  } finally {
    clearTimeout(timer);
  }
}
