import { randomBytes } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import type {
  BehindEntry,
  BehindOutcome,
  HotCopies,
  HotFinding,
  HotSave,
  LeftBehind,
  Marked,
  WindowedValue,
} from '../../core/hot-copies.interface.js';
import { bucketOfHandle } from '../../core/session-id.js';
import { versionOf } from '../../core/session-record.js';
import type { SaveOutcome, StoredValue } from '../../core/session-store.interface.js';
import { end, reportOutages } from './open-redis-store.js';
import { RedisCalls } from './redis-calls.js';
import {
  createRedis,
  isRedisClient,
  type RedisClient,
  type RedisConnectionOptions,
} from './redis-client.js';
import { factsIn, isEvicting } from './redis-facts.js';
import * as scripts from './redis-hot-scripts.js';

/** How copies are kept in Redis. */
export interface RedisHotCopiesOptions {
  /** First part of every key. */
  readonly keyPrefix: string;
  /** Milliseconds after which a copy goes, however much it is used. */
  readonly hotFor: number;
  /** Sessions that the base may be behind of, in each of the 256 buckets. */
  readonly maxBehind: number;
  /** Tells of all in a value that is written through; `undefined`: all of it is. */
  readonly printOf: (value: StoredValue) => string | undefined;
  /** Milliseconds that a change in the base may take at most; so long its session is asked for there. @default 60000 */
  readonly markFor?: number;
  /** Milliseconds that the base keeps what it takes for ended, for what is brought late. @default hotFor */
  readonly keptFor?: number;
  /** Milliseconds after which what a node took to bring it to the base, and did not, is taken by another. @default 10000 */
  readonly takenFor?: number;
  /** Closes the client, if it belongs to the copies. */
  readonly close?: () => Promise<void>;
}

/** Milliseconds that reading in the base may take, for what was read to be kept. */
const LEASE = 10_000;
const GROUP = 'base';
/** One name for all nodes: whatever was taken, and is not done in time, is anybody's. A name for each would stay for ever. */
const CONSUMER = 'node';
/** Sessions that one script works on: Redis answers others in between. */
const BATCH = 100;
const NO_PRINT = '-'.repeat(scripts.PRINT_LENGTH);
/** Milliseconds that the first calls wait for a connection that is being made. */
const BOOT_PATIENCE = 1_000;

/** Hot copies of sessions in Redis, alone, behind Sentinels or as a Cluster: what belongs to a bucket shares a slot. */
export class RedisHotCopies implements HotCopies {
  readonly #calls: RedisCalls;
  /** Over when the first connection is there, or is not going to be soon. */
  #opening: Promise<unknown> | undefined;

  constructor(
    private readonly client: RedisClient,
    private readonly options: RedisHotCopiesOptions,
    opening?: Promise<unknown>,
  ) {
    this.#calls = new RedisCalls(client, undefined);
    this.#opening = opening?.finally(() => (this.#opening = undefined));
  }

  async find(handle: string, touch?: number): Promise<HotFinding> {
    const args = [touch ?? '', randomBytes(12).toString('base64url'), LEASE];
    const reply = await this.#run(scripts.FIND, this.#keys(handle), ...args);
    const [status, ...rest] = reply as [number, string, string | number, number?];
    if (Number(status) === 1) {
      const [value, remaining] = rest;
      return { status: 'hit', value, remaining: Number(remaining) };
    }
    const [lease, behind, remaining] = rest;
    const found = Number(status) === 0 ? 'miss' : Number(status) === 2 ? 'leased' : 'marked';
    return { status: found, lease, behind: windowed(String(behind), remaining) };
  }

  async fill(handle: string, lease: string, found: WindowedValue | undefined): Promise<boolean> {
    const args = [lease, found?.value ?? '', found?.remaining ?? 0, this.#printOf(found?.value)];
    return (
      Number(await this.#run(scripts.FILL, this.#keys(handle), ...args, this.options.hotFor)) === 1
    );
  }

  async mark(handles: readonly string[], token: string): Promise<Marked[]> {
    const { markFor = 60_000 } = this.options;
    const parts = await Promise.all(
      batchesOf(handles).map((some) =>
        this.#run(
          scripts.MARK,
          some.flatMap((one) => this.#keys(one)),
          token,
          markFor,
        ),
      ),
    );
    const replies = parts.flat() as (number | string)[];
    return handles.map((_, i) => {
      const [left, behind] = [Number(replies[2 * i]), String(replies[2 * i + 1])];
      return { remaining: left < 0 ? undefined : left, behind: windowed(behind, left) };
    });
  }

  async release(handles: readonly string[], token: string, left: LeftBehind): Promise<void> {
    const { value = '', remaining = 0 } = left === 'gone' ? {} : (left ?? {});
    const args = [token, left === 'gone' ? 1 : '', value, remaining, this.#printOf(value)];
    await this.#each(scripts.RELEASE, handles, ...args, this.options.hotFor);
  }

  async drop(handles: readonly string[], ended: boolean): Promise<void> {
    await this.#each(scripts.DROP, handles, ended ? 1 : '');
  }

  async touch(handle: string, ttl: number): Promise<void> {
    await this.#run(scripts.MOVE, this.#keys(handle).slice(0, 1), ttl);
  }

  async save(
    handle: string,
    value: StoredValue,
    print: string,
    {
      expected,
      ttl = '' as const,
    }: Omit<HotSave, 'ttl'> & { readonly ttl?: number | '' | undefined },
  ): Promise<SaveOutcome | 'through'> {
    const keys = [...this.#keys(handle), this.#stream(bucketOfHandle(handle))];
    const { maxBehind, hotFor, keptFor = hotFor } = this.options;
    const args = [expected, value, ttl, print, handle, maxBehind, keptFor];
    const reply = await this.#run(scripts.SAVE_HERE, keys, ...args);
    if (typeof reply === 'string' && reply.length > 1)
      return { status: 'conflict', current: reply };
    return Number(reply) === 1 ? { status: 'saved' } : 'through';
  }

  async keep(handle: string): Promise<boolean> {
    const keys = [...this.#keys(handle).slice(0, 1), this.#stream(bucketOfHandle(handle))];
    return Number(await this.#run(scripts.KEEP, keys, handle, this.options.maxBehind)) === 1;
  }

  async take(bucket: string, count: number): Promise<BehindEntry[]> {
    const { takenFor = 10_000 } = this.options;
    const args = [GROUP, CONSUMER, count, takenFor];
    const reply = await this.#run(scripts.TAKE, [this.#stream(bucket)], ...args);
    const told = reply as (string | number)[];
    return Array.from({ length: told.length / 4 }, (_, i) => {
      const [id, handle, value, left] = told.slice(4 * i, 4 * i + 4);
      const newest = windowed(String(value), Number(left));
      return { id: String(id), handle: String(handle), newest };
    });
  }

  async done(bucket: string, outcomes: readonly BehindOutcome[]): Promise<void> {
    if (outcomes.length === 0) return;
    const each = outcomes.flatMap(({ entry: { id, handle, newest }, became }) => [
      id,
      handle,
      newest ? versionOf(newest.value) : '',
      became,
    ]);
    await this.#run(scripts.DONE, [this.#stream(bucket)], GROUP, this.options.hotFor, ...each);
  }

  async ping(): Promise<void> {
    await this.#opening;
    await this.#calls.bounded(this.#calls.client.ping());
  }

  /** Whether the servers may drop what the base does not have yet. */
  async mayEvict(): Promise<boolean> {
    await this.#opening;
    const told = await Promise.all(
      this.#calls.masters.map((node) => this.#calls.bounded(node.info())),
    );
    return told.some((info) => isEvicting(factsIn(info).evictionPolicy));
  }

  async close(): Promise<void> {
    await this.#calls.close();
    await this.options.close?.();
  }

  async #run(...call: Parameters<RedisCalls['run']>): Promise<unknown> {
    await this.#opening;
    return this.#calls.run(...call);
  }

  async #each(
    script: Parameters<RedisCalls['run']>[0],
    handles: readonly string[],
    ...args: (string | number)[]
  ): Promise<void> {
    await Promise.all(
      batchesOf(handles).map((some) =>
        this.#run(
          script,
          some.flatMap((one) => this.#keys(one)),
          ...args,
        ),
      ),
    );
  }

  #printOf(value: StoredValue | undefined): string {
    return (value && this.options.printOf(value)) || NO_PRINT;
  }

  /** Copy, marks and lease. */
  #keys(handle: string): string[] {
    const bucket = bucketOfHandle(handle);
    return ['c', 'm', 'l'].map((kind) => `{${this.options.keyPrefix}:${bucket}}:${kind}:${handle}`);
  }

  /** Who the base is behind of. */
  #stream(bucket: string): string {
    return `{${this.options.keyPrefix}:${bucket}}:w`;
  }
}

/** Copies over a client that was handed in, which is never closed, or over a connection of their own. */
export function openHotCopies(
  redis: string | RedisConnectionOptions | RedisClient,
  options: Omit<RedisHotCopiesOptions, 'close'>,
  onTrouble: (message: string) => void,
): RedisHotCopies {
  const given = isRedisClient(redis) || typeof redis === 'string' ? redis : (redis.client ?? redis);
  if (isRedisClient(given)) return new RedisHotCopies(given, options);
  const client = createRedis(given);
  reportOutages(client, onTrouble);
  return new RedisHotCopies(
    client as unknown as RedisClient,
    { ...options, close: () => end(client) },
    connected(client),
  );
}

/** It goes on trying when this is over. */
async function connected(client: Redis | Cluster): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, BOOT_PATIENCE);
  });
  await Promise.race([client.connect().catch(() => undefined), late]);
  clearTimeout(timer);
}

const windowed = (value: string, remaining: number | undefined): WindowedValue | undefined =>
  value === '' ? undefined : { value, remaining: Number(remaining) };

const batchesOf = (handles: readonly string[]): string[][] =>
  Array.from({ length: Math.ceil(handles.length / BATCH) }, (_, i) =>
    handles.slice(i * BATCH, (i + 1) * BATCH),
  );
