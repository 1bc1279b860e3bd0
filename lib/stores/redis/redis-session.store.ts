import { bucketOfHandle } from '../../core/session-id.js';
import type { News } from '../../core/news.interface.js';
import type { Place } from '../../core/session-places.js';
import type {
  Admission,
  CreateOptions,
  EndedInPlace,
  FollowOptions,
  IndexedSessionStore,
  LoadedValue,
  LoadOptions,
  PlacedValue,
  PlaceLimit,
  PlaceRange,
  ReplaceOptions,
  SaveOptions,
  SaveOutcome,
  Standing,
  StoredValue,
  WriteOptions,
} from '../../core/session-store.interface.js';
import type {
  CopyKeeper,
  FollowedSessionStore,
  Following,
} from '../../core/followed-store.interface.js';
import type { TellingSessionStore } from '../../core/store-news.interface.js';
import { RedisCalls } from './redis-calls.js';
import type { Durability, RedisClient } from './redis-client.js';
import { factsIn, isEvicting, type RedisFacts } from './redis-facts.js';
import { RedisKeys } from './redis-keys.js';
import { RedisNews, type Telling } from './redis-news.js';
import { RedisReads } from './redis-reads.js';
import type { RedisScript } from './redis-script.js';
import * as scripts from './redis-scripts.js';
import { RedisWalk } from './redis-walk.js';

/** How the store uses a client. */
export interface RedisStoreOptions {
  /** First part of every key. @default 'sess' */
  keyPrefix?: string;
  /** Writes about who is logged in are confirmed by replicas. @default they are not */
  durability?: Durability | undefined;
  /** For how long it is remembered what was told, in milliseconds. @default 600000 */
  retention?: number | undefined;
  /** Told what time it is at the server, now and then, in milliseconds since the epoch. */
  onTime?: (now: number) => void;
  /** Closes the client, if it belongs to the store. */
  close?: () => Promise<void>;
}

/** Entries of a place that one script ends or counts: Redis answers others in between. */
const BATCH = 500;

/**
 * Sessions in Redis: one string each, and a sorted set of handles for each place. Every verb is one
 * command; emptying and counting places, and walking the key space, are some.
 */
export class RedisSessionStore
  implements IndexedSessionStore, TellingSessionStore, FollowedSessionStore
{
  readonly #client: RedisClient;
  readonly #keys: RedisKeys;
  readonly #calls: RedisCalls;
  readonly #reads: RedisReads;
  readonly news: RedisNews;
  readonly #walk: RedisWalk;
  readonly #close: (() => Promise<void>) | undefined;

  constructor(
    client: RedisClient,
    { keyPrefix = 'sess', durability, retention = 600_000, onTime, close }: RedisStoreOptions = {},
    calls = new RedisCalls(client, durability, onTime),
  ) {
    this.#client = client;
    this.#keys = new RedisKeys(keyPrefix);
    this.#calls = calls;
    this.#reads = new RedisReads(calls);
    this.news = new RedisNews(calls, this.#keys, retention);
    this.#walk = new RedisWalk(calls, this.#keys);
    this.#close = close;
  }

  /** A store over the same client that keeps other sessions. */
  withPrefix(keyPrefix: string, retention = this.news.retention): RedisSessionStore {
    return new RedisSessionStore(this.#client, { keyPrefix, retention }, this.#calls);
  }

  /** Whether replicas confirm what they are asked to. */
  get confirms(): boolean {
    return this.#calls.confirms;
  }

  /** The servers that take writes, for whoever looks after them. */
  get masters(): readonly RedisClient[] {
    return this.#calls.masters;
  }

  /** By client tracking; `undefined` where the server does not do it, or not for this user. */
  follow(keeper: CopyKeeper): Promise<Following | undefined> {
    return this.#calls.followers().follow(this.#keys, keeper);
  }

  /** Learns what is better known before the first request. */
  prepare(): Promise<void> {
    return this.#calls.prepare();
  }

  /** Gives back what the store itself opened. */
  async close(): Promise<void> {
    this.news.close();
    // What is confirmed goes over connections of the store's own, whosever the client is.
    await this.#calls.close();
    await this.#close?.();
  }

  load(handle: string, options?: LoadOptions): Promise<LoadedValue | undefined> {
    return this.#reads.load(this.#keys.record(handle), options);
  }

  async create(handle: string, value: StoredValue, options: CreateOptions): Promise<boolean> {
    const [keys, args] = this.#newRecord(handle, value, options);
    const told = { subject: handle, awaited: handle, ttl: options.ttl };
    const call = { handle, keys, args: [...args], told };
    const reply = this.#write(options, scripts.CREATE, call);
    return Number(await reply) === 1;
  }

  async admit(
    handle: string,
    value: StoredValue,
    { limit, ...options }: CreateOptions & { readonly limit: PlaceLimit },
  ): Promise<Admission> {
    const [keys, args] = this.#newRecord(handle, value, options);
    // Lua counts from 1, and the record is the first.
    const limited = (options.standing?.places.indexOf(limit.place) ?? -1) + 2;
    const rule = [limit.max, limit.onLimit, limit.idleTimeout, limit.lastingIdleTimeout];
    const told = { subject: handle, awaited: handle, ttl: options.ttl };
    const call = { handle, keys, args: [...args, limited, ...rule], told };
    const reply = await this.#write(options, scripts.ADMIT, call);
    const [status, ...retired] = reply as [number, ...string[]];
    for (const one of retired) this.#calls.tracking?.changedHere(this.#keys, one);
    if (Number(status) === 1) return { status: 'created', retired };
    return { status: Number(status) === 2 ? 'full' : 'taken' };
  }

  async save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome> {
    const { expected, ttl = '', standing, leaves = [] } = options;
    const record = this.#keys.record(handle);
    const args = [expected, value, ttl];
    const told = this.#toldOnSave(handle, options);
    if (!standing && leaves.length === 0) {
      const call = { handle, keys: [record], args, told };
      return outcomeOf(await this.#write(options, scripts.SAVE, call));
    }
    const { places = [], since = 0, life = 0 } = standing ?? {};
    const keys = [record, ...this.#places(handle, leaves), ...this.#places(handle, places)];
    const moved = [...args, handle, since, life, leaves.length];
    const call = { handle, keys, args: moved, told };
    return outcomeOf(await this.#write(options, scripts.SAVE_AND_MOVE, call));
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
    const args = [...both, since, life, leaves.length];
    const told = { subject: next.handle, awaited: next.handle, ttl: next.ttl, dropped: handle };
    const reply = await this.#write(options, scripts.REPLACE, { handle, keys, args, told });
    return String(reply) === '2' ? { status: 'taken' as const } : outcomeOf(reply);
  }

  async settle(handle: string, version: string, standing: Standing): Promise<void> {
    if (!this.#calls.mayLosePlaces) return;
    const { places, since, life } = standing;
    const keys = [this.#keys.record(handle), ...this.#places(handle, places)];
    await this.#calls.run(scripts.SETTLE, keys, handle, since, life, version);
  }

  touch(handle: string, ttl: number): Promise<boolean> {
    return this.#reads.touch(this.#keys.record(handle), ttl);
  }

  async delete(
    handle: string,
    leaves: readonly Place[] = [],
    options: WriteOptions = {},
  ): Promise<StoredValue | undefined> {
    const keys = [this.#keys.record(handle), ...this.#places(handle, leaves)];
    return ((await this.#delete(handle, keys, options)) as StoredValue | null) ?? undefined;
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

  async endIn(bucket: string, place: Place, except = '', news?: News): Promise<EndedInPlace> {
    const keys = [this.#keys.place(bucket, place), this.#keys.ending(bucket, place)];
    let ended = 0;
    const pointers: StoredValue[] = [];
    let pass = 0;
    for (let left = 1, begin = 1; left > 0; begin = 0) {
      const args = [place, BATCH, begin, except, this.#calls.confirms ? 1 : 0];
      // Each part is told by itself, of those that it has ended.
      const beside = news && { gaveWay: partOf(news.message, pass++) };
      const call = { handle: bucket, keys, args, told: {} };
      const reply = await this.#write({ confirm: true, news: beside }, scripts.END_IN, call);
      const [rest, lived, ...found] = reply as [number, number, ...StoredValue[]];
      left = Number(rest);
      ended += Number(lived);
      pointers.push(...found);
    }
    return { ended, pointers };
  }

  /** Walks the key space, as {@link count} does. */
  placesOf(index: string): AsyncGenerator<{ bucket: string; place: Place }> {
    return this.#walk.placesOf(index);
  }

  /** Walks the key space with SCAN, on every master; never KEYS. */
  count(): Promise<number> {
    return this.#walk.count();
  }

  /** What the servers tell of themselves; every master of a Cluster. What they may lose is remembered. */
  async facts(): Promise<RedisFacts[]> {
    const told = await Promise.all(
      this.#calls.masters.map((node) => this.#calls.bounded(node.info())),
    );
    const facts = told.map(factsIn);
    this.#calls.isSharded &&= facts.every(({ version }) => parseInt(version, 10) >= 7);
    this.#calls.mayLosePlaces = facts.some((one) => isEvicting(one.evictionPolicy));
    return facts;
  }

  async ping(): Promise<void> {
    await this.#calls.bounded(this.#calls.client.ping());
  }

  /** A change; if something is to be told of it, by the script that tells it as well. */
  async #write(
    { confirm, news, follow }: WriteOptions & FollowOptions,
    script: RedisScript,
    { handle, keys, args, told }: Change,
  ): Promise<unknown> {
    // Where nothing confirms, it goes over the connection that is followed as all else.
    const how = confirm && this.confirms ? 'runConfirmed' : follow ? 'runFollowed' : 'run';
    const run = (one: RedisScript, its: readonly string[], all: Argument[]) =>
      this.#calls[how](one, its, ...all);
    const bucket = handle.length === 2 ? handle : bucketOfHandle(handle);
    try {
      if (!news) return await run(script, keys, args);
      return await run(...this.news.told(script, keys, args, { ...told, news, bucket }));
    } finally {
      if (!follow) this.#calls.tracking?.changedHere(this.#keys, handle);
    }
  }

  /** A pointer is no session any more; of one that goes on something else may be told from now on. */
  #toldOnSave(handle: string, { news, ttl }: SaveOptions): Change['told'] {
    if (news?.goesOnAs !== undefined) return { subject: news.goesOnAs, dropped: handle };
    return { subject: handle, awaited: news?.notice === undefined ? undefined : handle, ttl };
  }

  #delete(
    handle: string,
    keys: readonly string[],
    { confirm = false, news }: WriteOptions,
  ): Promise<unknown> {
    const call = { handle, keys, args: [handle], told: { subject: handle, dropped: handle } };
    const forGood = confirm && this.#calls.confirms;
    if (forGood) return this.#write({ confirm, news }, scripts.DELETE_FOR_GOOD, call);
    if (keys.length > 1 || news) return this.#write({ news }, scripts.DELETE, call);
    const deleted = this.#calls.bounded(this.#calls.client.getdel(keys[0] as string));
    return deleted.finally(() => this.#calls.tracking?.changedHere(this.#keys, handle));
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

type Argument = string | number;

/** A script's keys and arguments, and what it means for who is told of. */
interface Change {
  /** Of a session, or a bucket. */
  readonly handle: string;
  readonly keys: readonly string[];
  readonly args: Argument[];
  readonly told: Omit<Telling, 'news' | 'bucket'>;
}

/** The message of one of several parts: events of each have ids of their own. */
function partOf(message: string | undefined, part: number): string | undefined {
  return part === 0 ? message : message?.replace(/^\{"i":"([\w-]+)"/, `{"i":"$1-${part}"`);
}

/** A record is longer than an integer, and a client may give integers as strings. */
function outcomeOf(reply: unknown): SaveOutcome {
  if (typeof reply === 'string' && reply.length > 1) return { status: 'conflict', current: reply };
  return { status: Number(reply) === 1 ? 'saved' : 'gone' };
}
