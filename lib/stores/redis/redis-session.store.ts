import { LIVE } from '../../core/session-record.js';
import {
  VERSION_LENGTH,
  type LoadedValue,
  type LoadOptions,
  type SaveOptions,
  type SaveOutcome,
  type SessionStore,
  type StoredValue,
} from '../../core/session-store.interface.js';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import { OneWriteATurn } from './one-write-a-turn.js';
import { COMMAND_TIMEOUT, toUnavailable, type RedisClient } from './redis-client.js';
import { RedisKeys } from './redis-keys.js';
import { CREATE, LOAD_REMAINING, SAVE, type RedisScript } from './redis-scripts.js';

/** How the store uses a client. */
export interface RedisStoreOptions {
  /** First part of every key. @default 'sess' */
  keyPrefix?: string;
  /** Closes the client, if it belongs to the store. */
  close?: () => Promise<void>;
}

/** Sessions in Redis: one string each, every verb one command. */
export class RedisSessionStore implements SessionStore {
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

  async load(handle: string, options: LoadOptions = {}): Promise<LoadedValue | undefined> {
    const key = this.#keys.record(handle);
    const { touch } = options;
    if (touch !== undefined) {
      const value = await this.#bounded(this.#redis.getex(key, 'PX', touch));
      return value === null ? undefined : { value, remaining: touch };
    }
    if (options.remaining) {
      const [value, remaining] = (await this.#run(LOAD_REMAINING, key)) as [string?, number?];
      return value === undefined ? undefined : { value, remaining: Number(remaining) };
    }
    const value = await this.#bounded(this.#redis.get(key));
    return value === null ? undefined : { value };
  }

  async create(handle: string, value: StoredValue, { ttl }: { ttl: number }): Promise<boolean> {
    return Number(await this.#run(CREATE, this.#keys.record(handle), value, ttl)) === 1;
  }

  async save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome> {
    const { expected, ttl = '' } = options;
    const reply = await this.#run(SAVE, this.#keys.record(handle), expected, value, ttl);
    // A record is longer than an integer, and a client may give integers as strings.
    if (typeof reply === 'string' && reply.length > 1)
      return { status: 'conflict', current: reply };
    return { status: Number(reply) === 1 ? 'saved' : 'gone' };
  }

  async touch(handle: string, ttl: number): Promise<boolean> {
    const key = this.#keys.record(handle);
    return Number(await this.#bounded(this.#redis.pexpire(key, ttl))) === 1;
  }

  async delete(handle: string): Promise<StoredValue | undefined> {
    const value = await this.#bounded(this.#redis.getdel(this.#keys.record(handle)));
    return value ?? undefined;
  }

  /** Walks the key space with SCAN, on every master; never KEYS. */
  async count(): Promise<number> {
    const nodes = this.#client.nodes?.('master') ?? [this.#client];
    const counts = await Promise.all(nodes.map((node) => this.#countOn(node)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async ping(): Promise<void> {
    await this.#bounded(this.#redis.ping());
  }

  async #countOn(node: RedisClient): Promise<number> {
    const clientPrefix = this.#client.options?.keyPrefix ?? '';
    const pattern = clientPrefix + this.#keys.recordPattern;
    const live = new Set<string>();
    let cursor = '0';
    do {
      const [next, keys] = await this.#bounded(node.scan(cursor, 'MATCH', pattern, 'COUNT', 1_000));
      await Promise.all(
        // SCAN may tell a key twice, and tells it as the server has it.
        keys.map(
          async (key) => (await this.#isLive(key.slice(clientPrefix.length))) && live.add(key),
        ),
      );
      cursor = String(next);
    } while (cursor !== '0');
    return live.size;
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

  #run(script: RedisScript, ...args: (string | number)[]): Promise<unknown> {
    return this.#bounded(
      this.#redis.evalsha(script.sha, script.keys, ...args).catch((error: Error) => {
        if (!error.message.startsWith('NOSCRIPT')) throw error;
        return this.#redis.eval(script.source, script.keys, ...args);
      }),
    );
  }

  /** Every failure leaves here as ours, and in time even from a client that would wait for ever. */
  #bounded<T>(reply: Promise<T>): Promise<T> {
    return (this.#deadline === undefined ? reply : inTime(reply, this.#deadline)).catch(refuse);
  }
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
