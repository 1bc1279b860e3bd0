import type { Place } from '../core/session-places.js';
import { LIVE } from '../core/session-record.js';
import { SessionStoreUnavailableError } from '../core/session.errors.js';
import { VERSION_LENGTH } from '../core/session-store.interface.js';
import { isHandle } from '../core/session-id.js';
import { RedisCalls } from '../stores/redis/redis-calls.js';
import type { RedisClient } from '../stores/redis/redis-client.js';
import { RedisKeys } from '../stores/redis/redis-keys.js';
import { script } from '../stores/redis/redis-script.js';
import { readSlotMap, type SlotMap } from './slot-map.js';

/** Part of the buckets, so that what is held of them in memory is bounded: a glob of their names, such as `[0-7]?`. */
export type BucketGlob = string;

/** A place, as the server names its key. */
export interface NamedPlace {
  readonly bucket: string;
  readonly place: Place;
  /** Somebody is ending all that stands there. */
  readonly isEnding: boolean;
}

/** What stands in a place. */
export interface PlaceContents {
  readonly entries: readonly (readonly [handle: string, since: number])[];
  /** Until when the place stays, by the clock of Redis. */
  readonly end: number;
}

/** A record as it is at one moment. */
export interface ReadRecord {
  /** Empty if what is there is none: it is of another type, or has no end. */
  readonly value: string;
  /** By the clock of Redis. */
  readonly end: number;
  readonly notice: string | undefined;
}

const NOW = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`;

/**
 * KEYS record, due, notices of its bucket · ARGV handle. The record, when it ends, whether its end is awaited,
 * what is told of it then.
 */
const READ = script(
  NOW,
  `local value = redis.pcall('GET', KEYS[1])
if not value then return {} end
if type(value) == 'table' then
  if not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
  value = ''
end
local left = redis.call('PTTL', KEYS[1])
if value == '' or left < 0 then return {'', '0', 0, ''} end
local awaited = redis.call('ZSCORE', KEYS[2], ARGV[1]) and 1 or 0
return {value, string.format('%.0f', now + left), awaited, redis.call('HGET', KEYS[3], ARGV[1]) or ''}`,
);

/** KEYS place · ARGV cursor. Cursor, when the place ends, and some of what stands there. */
const STANDING = script(
  NOW,
  `local page = redis.pcall('ZSCAN', KEYS[1], ARGV[1], 'COUNT', 500)
if page.err then
  -- Whatever that is, nothing stands there.
  if string.find(page.err, 'WRONGTYPE', 1, true) then return {'0', '0'} end
  return page
end
local reply = {page[1], string.format('%.0f', now + redis.call('PTTL', KEYS[1]))}
for _, one in ipairs(page[2]) do reply[#reply + 1] = one end
return reply`,
);

/** KEYS any · ARGV text, ttl. */
const MARK = script(`redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`);

/** How long to wait for slots of a Cluster that move. */
interface RedisRoomOptions {
  /** In milliseconds. @default 30000 */
  readonly moveTimeout?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const MOVE_TIMEOUT = 30_000;

/** Reads what a Redis has of the sessions of one prefix, a part at a time, under traffic. */
export class RedisRoom {
  readonly calls: RedisCalls;
  readonly keys: RedisKeys;

  /** For how long slots may be under way, in milliseconds. */
  readonly moveTimeout: number;
  /** Ends the waiting for them. */
  readonly signal: AbortSignal | undefined;

  constructor(
    client: RedisClient,
    private readonly prefix: string,
    { moveTimeout = MOVE_TIMEOUT, signal }: RedisRoomOptions = {},
  ) {
    this.moveTimeout = moveTimeout;
    this.signal = signal;
    this.calls = new RedisCalls(client, undefined);
    this.keys = new RedisKeys(prefix);
  }

  /** What time it is there, in milliseconds since the epoch; of a Cluster, at the master that is furthest ahead. */
  async now(): Promise<number> {
    const { calls } = this;
    const told = await Promise.all(calls.masters.map((node) => calls.bounded(node.time())));
    return Math.max(...told.map(([s, us]) => Number(s) * 1_000 + Math.floor(Number(us) / 1_000)));
  }

  /**
   * How many keys there are of these sessions. A Redis that holds no more than so many of whomever is not walked for
   * that.
   *
   * @param most so many need not be counted
   */
  async size(most: number): Promise<number> {
    const sizes = this.calls.masters.map(async (node) => Number(await node.call?.('DBSIZE')));
    const all = await Promise.all(sizes).catch(() => [Infinity]);
    const known = all.reduce((sum, one) => sum + one, 0);
    if (known <= most) return known;
    let count = 0;
    for await (const keys of this.#pages('??', '*', this.calls.masters)) count += keys.length;
    return count;
  }

  /** Which master has which bucket. */
  slots(): Promise<SlotMap> {
    return readSlotMap(this.calls, this.keys);
  }

  /** Goes to where a bucket is, for nothing but to have been there. */
  async visit(bucket: string): Promise<void> {
    const { calls, keys } = this;
    await calls.bounded(calls.client.get(keys.place(bucket, 'visit'))).catch(() => undefined);
  }

  /**
   * Handles of all records of these buckets; one may come twice.
   *
   * @param masters over which to walk
   */
  async *handles(
    buckets: BucketGlob,
    masters: readonly RedisClient[] = this.calls.masters,
  ): AsyncGenerator<string> {
    for await (const key of this.#scan(buckets, 's:*', masters)) {
      const handle = key.slice(key.lastIndexOf(':') + 1);
      if (isHandle(handle)) yield handle;
    }
  }

  /** All places of these buckets; one may come twice. */
  async *places(
    buckets: BucketGlob,
    masters: readonly RedisClient[] = this.calls.masters,
  ): AsyncGenerator<NamedPlace> {
    const start = this.prefix.length + 2;
    for await (const key of this.#scan(buckets, '[pkdaoi][.:]*', masters)) {
      const name = key.slice(start + 4);
      const place = name.replace(/:ending$/, '');
      // Beside them there are keys that are empty for a moment.
      if (!/^(?:[a-z]|i\.[^\n]+):[\w-]+$/.test(place)) continue;
      yield { bucket: key.slice(start, start + 2), place, isEnding: place !== name };
    }
  }

  /** What stands in a place: all that does so from beginning to end. */
  async standing({ bucket, place, isEnding }: NamedPlace): Promise<PlaceContents> {
    const key = isEnding ? this.keys.ending(bucket, place) : this.keys.place(bucket, place);
    const entries: [handle: string, since: number][] = [];
    let end = 0;
    let cursor = '0';
    do {
      const reply = (await this.calls.run(STANDING, [key], cursor)) as (string | number)[];
      const [next, until, ...pairs] = reply.map(String) as [string, string, ...string[]];
      cursor = next;
      end = Number(until);
      for (let i = 0; i < pairs.length; i += 2) {
        entries.push([pairs[i] as string, Number(pairs[i + 1])]);
      }
    } while (cursor !== '0');
    return { entries, end };
  }

  async read(handle: string, bucket: string): Promise<ReadRecord | undefined> {
    const { keys, calls } = this;
    const all = [keys.record(handle), keys.due(bucket), keys.notices(bucket)];
    const [value, end, awaited, notice] = (await calls.run(READ, all, handle)) as string[];
    if (value === undefined) return undefined;
    const told = Number(awaited) === 1 ? notice : undefined;
    return { value, end: Number(end), notice: told };
  }

  /** Whether there is something under a handle. */
  async has(handle: string): Promise<boolean> {
    const { calls, keys } = this;
    const start = calls.client.getrange(keys.record(handle), 0, 0);
    return (await calls.bounded(start).catch(orForeign)) !== '';
  }

  /** Whether what is under a handle is a session, and not what an id left behind. */
  async holdsSession(handle: string): Promise<boolean> {
    const { calls, keys } = this;
    const kind = calls.client.getrange(keys.record(handle), VERSION_LENGTH, VERSION_LENGTH);
    return (await calls.bounded(kind).catch(orForeign)) === LIVE;
  }

  /** How far the restoring of a backup has come: a text. */
  async mark(backup: string): Promise<string | undefined> {
    const { calls, keys } = this;
    return (await calls.bounded(calls.client.get(keys.lease(`restore:${backup}`)))) ?? undefined;
  }

  /** @param ttl for how long it is remembered, in milliseconds */
  async setMark(backup: string, text: string, ttl: number): Promise<void> {
    await this.calls.run(MARK, [this.keys.lease(`restore:${backup}`)], text, Math.ceil(ttl));
  }

  async *#scan(
    buckets: BucketGlob,
    rest: string,
    masters: readonly RedisClient[],
  ): AsyncGenerator<string> {
    for await (const keys of this.#pages(buckets, rest, masters)) yield* keys;
  }

  /** Keys as the store names them; the server has them with the client's prefix. */
  async *#pages(
    buckets: BucketGlob,
    rest: string,
    masters: readonly RedisClient[],
  ): AsyncGenerator<string[]> {
    const { calls } = this;
    const escaped = this.prefix.replace(/[\\*?[\]^-]/g, '\\$&');
    const pattern = `${calls.prefix}{${escaped}:${buckets}}:${rest}`;
    for (const node of masters) {
      let cursor = '0';
      do {
        this.signal?.throwIfAborted();
        const page = node.scan(cursor, 'MATCH', pattern, 'COUNT', 1_000);
        const [next, keys] = await calls.bounded(page);
        yield keys.map((key) => key.slice(calls.prefix.length));
        cursor = String(next);
      } while (cursor !== '0');
    }
  }
}

/** Somebody else keeps something of another type under the key of a record. */
function orForeign(error: unknown): undefined {
  if (error instanceof SessionStoreUnavailableError && error.reason === 'WRONGTYPE')
    return undefined;
  throw error;
}
