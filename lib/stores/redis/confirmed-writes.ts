import { once } from 'node:events';
import {
  SessionStoreUnavailableError,
  SessionUnconfirmedError,
} from '../../core/session.errors.js';
import { anyMasterOf, translatedFor } from './cluster-addresses.js';
import type { Durability, RedisClient, RedisConnection } from './redis-client.js';

/** A script to run. */
export interface ConfirmedWrite {
  readonly command: 'evalsha' | 'eval';
  readonly text: string;
  /** With the client's prefix. */
  readonly keys: readonly string[];
  readonly rest: readonly (string | number)[];
  /** It is not sent later than this (`performance.now()`). */
  readonly until: number;
}

/** Redirections that one write follows. */
const MAX_REDIRECTS = 5;

/**
 * Writes that count only when replicas have them, by `WAIT`: that speaks of what the same connection has
 * written before, and holds up all that comes after it. So they have a connection of their own, one to
 * each master of a Cluster.
 */
export class ConfirmedWrites {
  readonly #lines = new Map<string, Line>();
  #isClosed = false;
  /** Which master has a bucket, as far as one has told. */
  readonly #owners = new Map<string, string>();

  readonly #client: RedisClient;

  constructor(
    client: RedisClient,
    private readonly durability: Durability,
    private readonly patience: number,
  ) {
    this.#client = client;
  }

  /** Milliseconds that a write may take longer than others. */
  get timeout(): number {
    return this.durability.timeout;
  }

  async send(write: ConfirmedWrite): Promise<unknown> {
    if (this.#isClosed) throw new SessionStoreUnavailableError('closed');
    if (!this.#client.nodes) return this.#line('').send({ ...write, asking: false });
    const bucket = /\{(.*?)\}/.exec(write.keys[0] ?? '')?.[1] ?? '';
    let address = this.#owners.get(bucket) ?? anyMasterOf(this.#client);
    let asking = false;
    for (let redirects = 0; ; redirects++) {
      try {
        return await this.#line(address).send({ ...write, asking });
      } catch (error) {
        const [, kind, to] = /^(MOVED|ASK) \d+ (\S+)/.exec((error as Error).message) ?? [];
        if (!to || redirects >= MAX_REDIRECTS) {
          // Perhaps it is no master any more: the next one asks another.
          this.#owners.delete(bucket);
          throw error;
        }
        address = translatedFor(this.#client, to);
        asking = kind === 'ASK';
        if (!asking) this.#owners.set(bucket, address);
      }
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const line of this.#lines.values()) line.close();
  }

  #line(address: string): Line {
    let line = this.#lines.get(address);
    if (!line) {
      line = new Line(() => this.#connection(address), this.durability);
      this.#lines.set(address, line);
    }
    return line;
  }

  #connection(address: string): RedisConnection {
    const patience = this.patience + this.durability.timeout + 100;
    const options = {
      lazyConnect: true,
      // What was sent to a server that is gone is not sent to the next: that would confirm something else.
      retryStrategy: null,
      maxRetriesPerRequest: 0,
      enableOfflineQueue: false,
      commandTimeout: patience,
      socketTimeout: 2 * patience,
      enableReadyCheck: false,
      keyPrefix: '',
    };
    const [node] = this.#client.nodes?.('all') ?? [this.#client];
    const open = node?.duplicate?.bind(node) as ((options: object) => RedisConnection) | undefined;
    if (!open) throw new SessionStoreUnavailableError('no connection');
    if (address === '') return open(options);
    const at = address.lastIndexOf(':');
    const where = { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
    return open({ ...options, ...where, readOnly: false });
  }
}

interface Waiting extends ConfirmedWrite {
  /** A slot that is under way to this node. */
  readonly asking: boolean;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** A lost connection confirms nothing; a user without the right to `WAIT` has to be told of that. */
const refusal = (error: Error): false | Error =>
  error.message.startsWith('NOPERM') ? error : false;

/** A connection on which what is written together is confirmed together, round by round. */
class Line {
  #connection: RedisConnection | undefined;
  #waiting: Waiting[] = [];
  #working = false;
  #isClosed = false;
  #fsync: boolean;

  constructor(
    private readonly connect: () => RedisConnection,
    private readonly durability: Durability,
  ) {
    this.#fsync = durability.fsync;
  }

  send(write: ConfirmedWrite & { asking: boolean }): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...write, resolve, reject });
      if (!this.#working) void this.#work();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#connection?.disconnect();
  }

  async #work(): Promise<void> {
    this.#working = true;
    while (this.#waiting.length > 0) {
      const round = this.#waiting.splice(0);
      await this.#round(round).catch((error: unknown) => {
        for (const { reject } of round) reject(error);
      });
    }
    this.#working = false;
  }

  async #round(round: readonly Waiting[]): Promise<void> {
    const latest = Math.max(...round.map(({ until }) => until));
    const connection = await this.#connected(latest - performance.now());
    const now = performance.now();
    const { stream } = connection;
    const writes = round.map((write) => {
      const { command, text, keys, rest, asking, until } = write;
      if (until < now) return Promise.reject(new SessionStoreUnavailableError('timeout'));
      if (asking) connection.asking().catch(() => undefined);
      return connection[command](text, keys.length, ...keys, ...rest);
    });
    const [replies, confirmed] = await Promise.all([
      Promise.allSettled(writes),
      this.#isConfirmed(connection).catch(refusal),
    ]);
    // Of another connection it would say nothing.
    const same = connection.stream === stream;
    replies.forEach((reply, i) => {
      const { resolve, reject } = round[i] as Waiting;
      if (reply.status === 'rejected') reject(reply.reason);
      else if (confirmed instanceof Error) reject(confirmed);
      else if (same && confirmed) resolve(reply.value);
      else reject(new SessionUnconfirmedError());
    });
  }

  async #isConfirmed(connection: RedisConnection): Promise<boolean> {
    const { replicas, timeout } = this.durability;
    if (!this.#fsync) return Number(await connection.wait(replicas, timeout)) >= replicas;
    try {
      const reply = await connection.call('WAITAOF', 1, replicas, timeout);
      const [here, there] = (reply as unknown[]).map(Number) as [number, number];
      return here >= 1 && there >= replicas;
    } catch (error) {
      if (!/unknown command|appendonly is disabled/i.test((error as Error).message)) throw error;
      // The log at boot has said so.
      this.#fsync = false;
      return this.#isConfirmed(connection);
    }
  }

  async #connected(within: number): Promise<RedisConnection> {
    if (this.#isClosed) throw new SessionStoreUnavailableError('closed');
    if (this.#connection?.status === 'end') this.#connection = undefined;
    const connection = (this.#connection ??= this.#opened());
    if (connection.status === 'ready') return connection;
    const patience = AbortSignal.timeout(Math.max(1, Math.ceil(within)));
    const ready = once(connection, 'ready', { signal: patience });
    if (connection.status === 'wait') connection.connect().catch(() => undefined);
    await ready.catch((error: unknown) => {
      throw patience.aborted ? new SessionStoreUnavailableError('timeout') : error;
    });
    return connection;
  }

  #opened(): RedisConnection {
    const connection = this.connect();
    // The store's own connection reports outages.
    connection.on('error', () => undefined);
    // What it opened at Sentinels does not end with it.
    connection.once('end', () => connection.disconnect());
    this.#fsync = this.durability.fsync;
    return connection;
  }
}
