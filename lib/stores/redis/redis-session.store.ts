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
  type Standing,
  type StoredValue,
  type WriteOptions,
} from '../../core/session-store.interface.js';
import type { SessionStoreUnavailableError } from '../../core/session.errors.js';
import { RedisCalls } from './redis-calls.js';
import type { Durability, RedisClient } from './redis-client.js';
import { factsIn, isEvicting, type RedisFacts } from './redis-facts.js';
import { RedisKeys } from './redis-keys.js';
import * as scripts from './redis-scripts.js';

/** How the store uses a client. */
export interface RedisStoreOptions {
  /** First part of every key. @default 'sess' */
  keyPrefix?: string;
  /** Writes about who is logged in are confirmed by replicas. @default they are not */
  durability?: Durability | undefined;
  /** Told what time it is at the server, now and then, in milliseconds since the epoch. */
  onTime?: (now: number) => void;
  /** Closes the client, if it belongs to the store. */
  close?: () => Promise<void>;
}

/** Why a master refuses writes. A replica does so as well (READONLY), but it must not be read. */
const REFUSES_WRITES = new Set(['MISCONF', 'NOREPLICAS', 'OOM']);

/** Entries of a place that one script ends or counts: Redis answers others in between. */
const BATCH = 500;

/**
 * Sessions in Redis: one string each, and a sorted set of handles for each place. Every verb is one
 * command; emptying and counting places, and walking the key space, are some.
 */
export class RedisSessionStore implements IndexedSessionStore {
  readonly #client: RedisClient;
  readonly #keys: RedisKeys;
  readonly #calls: RedisCalls;
  readonly #close: (() => Promise<void>) | undefined;

  constructor(
    client: RedisClient,
    { keyPrefix = 'sess', durability, onTime, close }: RedisStoreOptions = {},
    calls = new RedisCalls(client, durability, onTime),
  ) {
    this.#client = client;
    this.#keys = new RedisKeys(keyPrefix);
    this.#calls = calls;
    this.#close = close;
  }

  /** A store over the same client that keeps other sessions. */
  withPrefix(keyPrefix: string): RedisSessionStore {
    return new RedisSessionStore(this.#client, { keyPrefix }, this.#calls);
  }

  /** Whether replicas confirm what they are asked to. */
  get confirms(): boolean {
    return this.#calls.confirms;
  }

  /** Learns what is better known before the first request. */
  prepare(): Promise<void> {
    return this.#calls.prepare();
  }

  /** Gives back what the store itself opened. */
  async close(): Promise<void> {
    // What is confirmed goes over connections of the store's own, whosever the client is.
    await this.#calls.close();
    await this.#close?.();
  }

  async load(handle: string, options: LoadOptions = {}): Promise<LoadedValue | undefined> {
    const key = this.#keys.record(handle);
    const { touch } = options;
    if (touch !== undefined) {
      const value = await this.#touched(key, touch);
      return value === null ? undefined : { value, remaining: touch };
    }
    if (options.remaining) {
      const [value, remaining] = (await this.#calls.run(scripts.LOAD_REMAINING, [key])) as [
        string?,
        number?,
      ];
      return value === undefined ? undefined : { value, remaining: Number(remaining) };
    }
    const value = await this.#calls.bounded(this.#calls.client.get(key));
    return value === null ? undefined : { value };
  }

  async create(handle: string, value: StoredValue, options: CreateOptions): Promise<boolean> {
    const [keys, args] = this.#newRecord(handle, value, options);
    return Number(await this.#write(options, scripts.CREATE, keys, ...args)) === 1;
  }

  async admit(
    handle: string,
    value: StoredValue,
    { limit, ...options }: CreateOptions & { readonly limit: PlaceLimit },
  ): Promise<Admission> {
    const [keys, args] = this.#newRecord(handle, value, options);
    // Lua counts from 1, and the record is the first.
    const limited = (options.standing?.places.indexOf(limit.place) ?? -1) + 2;
    const [status, ...retired] = (await this.#write(
      options,
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
      return outcomeOf(await this.#write(options, scripts.SAVE, [record], ...args));
    }
    const { places = [], since = 0, life = 0 } = standing ?? {};
    const keys = [record, ...this.#places(handle, leaves), ...this.#places(handle, places)];
    const moved = [handle, since, life, leaves.length];
    return outcomeOf(await this.#write(options, scripts.SAVE_AND_MOVE, keys, ...args, ...moved));
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
    const reply = await this.#write(options, scripts.REPLACE, keys, ...both, ...moved);
    return String(reply) === '2' ? { status: 'taken' as const } : outcomeOf(reply);
  }

  async settle(handle: string, version: string, standing: Standing): Promise<void> {
    if (!this.#calls.mayLosePlaces) return;
    const { places, since, life } = standing;
    const keys = [this.#keys.record(handle), ...this.#places(handle, places)];
    await this.#calls.run(scripts.SETTLE, keys, handle, since, life, version);
  }

  async touch(handle: string, ttl: number): Promise<boolean> {
    const key = this.#keys.record(handle);
    return Number(await this.#calls.bounded(this.#calls.client.pexpire(key, ttl))) === 1;
  }

  async delete(
    handle: string,
    leaves: readonly Place[] = [],
    { confirm = false }: WriteOptions = {},
  ): Promise<StoredValue | undefined> {
    const keys = [this.#keys.record(handle), ...this.#places(handle, leaves)];
    return ((await this.#delete(handle, keys, confirm)) as StoredValue | null) ?? undefined;
  }

  async list(bucket: string, place: Place, range: PlaceRange): Promise<PlacedValue[]> {
    const { limit, after } = range;
    const key = this.#keys.place(bucket, place);
    const args = [place, limit, after?.handle ?? '', after?.since ?? ''];
    const reply = (await this.#calls.run(scripts.LIST, [key], ...args)) as (string | number)[];
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
      const reply = await this.#calls.run(scripts.COUNT_IN, [key], place, from, BATCH);
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
      const args = [place, BATCH, begin, except, this.#calls.confirms ? 1 : 0];
      const reply = await this.#calls.runConfirmed(scripts.END_IN, keys, ...args);
      const [rest, lived, ...found] = reply as [number, number, ...StoredValue[]];
      left = Number(rest);
      ended += Number(lived);
      pointers.push(...found);
    }
    return { ended, pointers };
  }

  /** Walks the key space, as {@link count} does. */
  async *placesOf(index: string): AsyncGenerator<{ bucket: string; place: Place }> {
    for (const node of this.#calls.masters) {
      for await (const keys of this.#scan(node, this.#keys.indexPattern(index))) {
        yield* keys.map((key) => this.#keys.placeOf(key));
      }
    }
  }

  /** Walks the key space with SCAN, on every master; never KEYS. */
  async count(): Promise<number> {
    const counts = await Promise.all(this.#calls.masters.map((node) => this.#countOn(node)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** What the servers tell of themselves; every master of a Cluster. What they may lose is remembered. */
  async facts(): Promise<RedisFacts[]> {
    const told = await Promise.all(
      this.#calls.masters.map((node) => this.#calls.bounded(node.info())),
    );
    const facts = told.map(factsIn);
    this.#calls.mayLosePlaces = facts.some((one) => isEvicting(one.evictionPolicy));
    return facts;
  }

  async ping(): Promise<void> {
    await this.#calls.bounded(this.#calls.client.ping());
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
    const clientPrefix = this.#calls.prefix;
    let cursor = '0';
    do {
      const page = node.scan(cursor, 'MATCH', clientPrefix + pattern, 'COUNT', 1_000);
      const [next, keys] = await this.#calls.bounded(page);
      yield keys.map((key) => key.slice(clientPrefix.length));
      cursor = String(next);
    } while (cursor !== '0');
  }

  async #isLive(key: string): Promise<boolean> {
    const kind = this.#calls.client.getrange(key, VERSION_LENGTH, VERSION_LENGTH);
    return (await this.#calls.bounded(kind)) === LIVE;
  }

  /** A server that takes no writes serves reads: then the idle window ends as it would have. */
  async #touched(key: string, touch: number): Promise<string | null> {
    try {
      return await this.#calls.bounded(this.#calls.client.getex(key, 'PX', touch));
    } catch (error) {
      if (!REFUSES_WRITES.has((error as SessionStoreUnavailableError).reason)) throw error;
      return this.#calls.bounded(this.#calls.client.get(key));
    }
  }

  #write(
    { confirm }: WriteOptions,
    script: scripts.RedisScript,
    keys: readonly string[],
    ...args: (string | number)[]
  ): Promise<unknown> {
    return confirm
      ? this.#calls.runConfirmed(script, keys, ...args)
      : this.#calls.run(script, keys, ...args);
  }

  #delete(handle: string, keys: readonly string[], confirm: boolean): Promise<unknown> {
    if (confirm && this.#calls.confirms) {
      return this.#calls.runConfirmed(scripts.DELETE_FOR_GOOD, keys, handle);
    }
    if (keys.length > 1) return this.#calls.run(scripts.DELETE, keys, handle);
    return this.#calls.bounded(this.#calls.client.getdel(keys[0] as string));
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
}

/** A record is longer than an integer, and a client may give integers as strings. */
function outcomeOf(reply: unknown): SaveOutcome {
  if (typeof reply === 'string' && reply.length > 1) return { status: 'conflict', current: reply };
  return { status: Number(reply) === 1 ? 'saved' : 'gone' };
}
