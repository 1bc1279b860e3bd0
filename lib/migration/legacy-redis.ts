import { hash } from 'node:crypto';
import { RecentKeys } from '../stores/redis/recent-keys.js';
import { RedisCalls } from '../stores/redis/redis-calls.js';
import type { RedisClient } from '../stores/redis/redis-client.js';
import { script } from '../stores/redis/redis-script.js';
import { endOf, parseRecord, type LegacyRecord } from './legacy-record.js';

/** KEYS record · ARGV value, ttl. */
const WRITE = script(`redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`);

/** KEYS record · ARGV value as it was seen, value, ttl. 1 if it was so, 0 if there is none, else what is there. */
const SWAP = script(`local there = redis.call('GET', KEYS[1])
if not there then return 0 end
if there == ARGV[2] then return 1 end
if there ~= ARGV[1] then return there end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`);

/** KEYS link · ARGV id, ttl. The id that it leads to: this one, or that of who was faster. */
const LINK = script(`local there = redis.call('GET', KEYS[1])
if there then
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  return there
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]`);

/** KEYS any. */
const DROP = script(`return redis.call('DEL', KEYS[1])`);

/** What became of a record that was to be replaced. */
export type Swap = 'done' | 'gone' | { readonly current: string };

/** How records are kept. */
export interface LegacyRedisOptions {
  readonly prefix: string;
  /** A record that says itself that it has expired has. */
  readonly endsByRecord: boolean;
  readonly now: () => number;
}

/**
 * The records of the other library, where that library keeps them; beside them, from the handle of a session
 * of ours, the id of the record that it goes on in as well. One key a command: so it may be a Cluster.
 */
export class LegacyRedis {
  readonly #calls: RedisCalls;

  constructor(
    client: RedisClient,
    private readonly options: LegacyRedisOptions,
  ) {
    this.#calls = new RedisCalls(client, undefined);
  }

  async read(id: string): Promise<LegacyRecord | undefined> {
    const text = await this.#get(this.#record(id));
    const record = text === undefined ? undefined : parseRecord(text);
    const end = record && this.options.endsByRecord ? endOf(record) : undefined;
    return end !== undefined && end <= this.options.now() ? undefined : record;
  }

  async write(id: string, text: string, ttl: number): Promise<void> {
    await this.#calls.run(WRITE, [this.#record(id)], text, ttl);
  }

  /** Replaces a record that is as it was seen. Never creates. */
  async swap(id: string, seen: string, text: string, ttl: number): Promise<Swap> {
    const reply = String(await this.#calls.run(SWAP, [this.#record(id)], seen, text, ttl));
    if (reply === '1') return 'done';
    return reply === '0' ? 'gone' : { current: reply };
  }

  async extend(id: string, ttl: number): Promise<void> {
    await this.#calls.bounded(this.#calls.client.pexpire(this.#record(id), ttl));
  }

  async end(id: string): Promise<void> {
    await this.#calls.run(DROP, [this.#record(id)]);
  }

  /** The record that a session of ours goes on in as well. */
  linkOf(handle: string): Promise<string | undefined> {
    return this.#get(this.#link(handle));
  }

  /** Leads from a session of ours to a record; to which is told: somebody else may have been faster. */
  async link(handle: string, id: string, ttl: number): Promise<string> {
    return String(await this.#calls.run(LINK, [this.#link(handle)], id, ttl));
  }

  async unlink(handle: string): Promise<void> {
    await this.#calls.run(DROP, [this.#link(handle)]);
  }

  /** What was left of a record that has become a session of ours for good. */
  movedTo(id: string): Promise<string | undefined> {
    return this.#get(this.#moved(id));
  }

  /** The record becomes a session of ours for good; tells to what it has led first. */
  async move(id: string, to: string, ttl: number): Promise<string> {
    const first = String(await this.#calls.run(LINK, [this.#moved(id)], to, ttl));
    await this.end(id);
    return first;
  }

  /** How many records there are, and how many sessions of ours go on in one. Walks the key space. */
  async count(): Promise<{ records: number; linked: number }> {
    const { prefix } = this.options;
    return { records: await this.#countOf(prefix), linked: await this.#countOf(this.#link('')) };
  }

  ping(): Promise<string> {
    return this.#calls.bounded(this.#calls.client.ping());
  }

  close(): Promise<void> {
    return this.#calls.close();
  }

  async #get(key: string): Promise<string | undefined> {
    return (await this.#calls.bounded(this.#calls.client.get(key))) ?? undefined;
  }

  async #countOf(prefix: string): Promise<number> {
    let count = 0;
    const pattern = `${`${this.#calls.prefix}${prefix}`.replace(/[\\*?[\]]/g, '\\$&')}*`;
    for (const node of this.#calls.masters) {
      const recent = new RecentKeys();
      for (let cursor = '0', more = true; more; more = cursor !== '0') {
        const page = node.scan(cursor, 'MATCH', pattern, 'COUNT', 1_000);
        const [next, keys] = await this.#calls.bounded(page);
        count += keys.filter((key) => recent.add(key)).length;
        cursor = String(next);
      }
    }
    return count;
  }

  // None of these begins as the records do: the other library must not find them among its own.
  #record = (id: string): string => this.options.prefix + id;
  #link = (handle: string): string => `linked-${this.options.prefix}${handle}`;
  #moved = (id: string): string => `moved-${this.options.prefix}${hash('sha256', id, 'base64url')}`;
}
