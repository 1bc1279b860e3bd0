import type { Command } from 'commander';
import { toMilliseconds } from '../core/duration.js';
import { BUCKETS } from '../core/session-id.js';
import { ask, mastersOf } from '../doctor/server-facts.js';
import type { RedisClient } from '../stores/redis/redis-client.js';
import { RedisKeys } from '../stores/redis/redis-keys.js';
import { CliUnconfirmedError, CliUsageError } from './cli-io.js';
import { refusalIn, type OpenedRedis } from './connection.js';

/** Options of commands that replicas may confirm; as `durability` of the application. */
export interface ConfirmOptions {
  readonly replicas?: string;
  readonly timeout?: string;
}

export const withReplicas = (command: Command): Command =>
  command
    .option('--replicas <count>', 'it counts only when so many replicas have it (1 with --timeout)')
    .option('--timeout <ms>', 'how long they have for it (200 with --replicas)');

/** As in `durability`. */
const REPLICAS = 1;
const TIMEOUT = 200;
/** A command may take ten seconds: longer waiting is done in parts. */
const LONGEST_WAIT = 5_000;

/**
 * Whether replicas have what was done over a connection. `WAIT` speaks of what the same connection has written:
 * so it is asked on the program's own, one to each master, after all is done.
 */
export class ReplicaConfirmation {
  private constructor(
    private readonly redis: OpenedRedis,
    /** Masters, and by which socket they are reached. */
    private readonly sockets: ReadonlyMap<RedisClient, unknown>,
    private readonly replicas: number,
    private readonly timeout: number,
  ) {}

  /**
   * To be called before anything is done: what this user may not ask is told while nothing is done yet.
   *
   * @returns `undefined` if nobody asked for it
   * @throws CliUsageError for numbers that are none
   */
  static async begin(
    redis: OpenedRedis,
    { replicas, timeout }: ConfirmOptions,
  ): Promise<ReplicaConfirmation | undefined> {
    if (replicas === undefined && timeout === undefined) return undefined;
    const count = replicas === undefined ? REPLICAS : countIn(replicas);
    const patience = timeout === undefined ? TIMEOUT : millisecondsIn(timeout);
    const sockets = new Map<RedisClient, unknown>();
    for (const node of mastersOf(redis.client)) {
      // Of no replica: is answered at once.
      await ask(node, 'WAIT', 0, 1);
      sockets.set(node, node.stream);
    }
    return new ReplicaConfirmation(redis, sockets, count, patience);
  }

  /**
   * Waits until replicas have all that was done since the beginning.
   *
   * @param done what `--json` tells of it in any case
   * @returns what `--json` tells
   * @throws CliUnconfirmedError (`SESSION_UNCONFIRMED`) if they have not, in time, or that is not certain
   */
  async confirm<T extends object>(done: T): Promise<T & { readonly confirmed: boolean }> {
    if (await this.#isConfirmed()) return { ...done, confirmed: true };
    const { replicas, timeout } = this;
    const who = replicas === 1 ? 'a replica has' : `${replicas} replicas have`;
    throw new CliUnconfirmedError(
      { ...done, confirmed: false },
      `It was done at the master, but not that ${who} confirmed it within ${timeout} ms: if the master fails now, sessions that were ended may be back. Run it again until it is confirmed.`,
    );
  }

  async #isConfirmed(): Promise<boolean> {
    if (!(await this.#isWritten())) return false;
    const masters = mastersOf(this.redis.client);
    // After a failover it would be others that speak, of other things.
    if (masters.length !== this.sockets.size) return false;
    const confirmed = await Promise.all(masters.map((node) => this.#isConfirmedBy(node)));
    return confirmed.every(Boolean);
  }

  /**
   * Something is written in every bucket: an end that was not confirmed the last time, and now finds nothing
   * to end, has to be waited for as well.
   */
  async #isWritten(): Promise<boolean> {
    const { client, prefix } = this.redis;
    const keys = new RedisKeys(prefix);
    const written = await Promise.allSettled(
      BUCKETS.map(async (bucket) =>
        client.call?.('SET', keys.place(bucket, 'confirmed'), '', 'PX', 1),
      ),
    );
    const [failed] = written.filter((one) => one.status === 'rejected');
    const refusal = failed && refusalIn(failed.reason);
    if (refusal) throw refusal;
    return failed === undefined;
  }

  async #isConfirmedBy(node: RedisClient): Promise<boolean> {
    // Of what went over another connection it would say nothing.
    const isSame = () => node.stream !== undefined && this.sockets.get(node) === node.stream;
    const until = performance.now() + this.timeout;
    for (let left = this.timeout; left > 0 && isSame(); left = until - performance.now()) {
      const wait = Math.ceil(Math.min(left, LONGEST_WAIT));
      const count = await ask(node, 'WAIT', this.replicas, wait).catch(() => undefined);
      if (count === undefined) return false;
      if (Number(count) >= this.replicas) return isSame();
    }
    return false;
  }
}

function countIn(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new CliUsageError('--replicas is a whole number of at least 1.');
}

function millisecondsIn(text: string): number {
  const timeout = /^\d{1,9}$/.test(text) ? Number(text) : toMilliseconds(text);
  if (timeout !== undefined && timeout >= 1) return timeout;
  throw new CliUsageError('--timeout is a number of milliseconds, or one with a unit: 200ms, 2s.');
}
