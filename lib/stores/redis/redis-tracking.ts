import type { EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { CopyKeeper, Following } from '../../core/followed-store.interface.js';
import type { RedisClient, RedisConnection } from './redis-client.js';
import type { RedisKeys } from './redis-keys.js';
import { TrackedConnection } from './tracked-connection.js';

/** Milliseconds that booting waits until changes are told. */
const PATIENCE = 1_000;

/** Where reads go. */
interface TrackedCalls {
  readonly rawClient: RedisClient;
  readonly masters: readonly RedisClient[];
  readonly patience: number;
  /** What the client puts in front of every key. */
  readonly prefix: string;
}

/** A keeper, and which keys are its. */
interface Ears {
  readonly keys: RedisKeys;
  readonly keeper: CopyKeeper;
}

/** When a master may be another one. A replica that has become one is told by none but `refresh`. */
const TURNS = ['+node', '-node', 'refresh', 'ready'];

/**
 * Client tracking: Redis remembers which records were read over a connection, and tells of their next
 * change, whoever makes it. It forgets all when the connection ends, and so do the keepers. In a Cluster
 * each master tells of what it has.
 */
export class RedisTracking {
  readonly #connections = new Map<RedisClient, TrackedConnection>();
  readonly #ears = new Set<Ears>();
  /** Those that count on being told. */
  readonly #relying = new Set<CopyKeeper>();
  #isBegun = false;

  constructor(private readonly calls: TrackedCalls) {}

  /** Whether what is read now will be told of when it changes: by whatever server it is read from. */
  get isLive(): boolean {
    const { masters } = this.calls;
    return (
      masters.length > 0 && masters.every((node) => this.#connections.get(node)?.isArmed === true)
    );
  }

  /** `undefined` if a server cannot do it, or not for this user. */
  async follow(keys: RedisKeys, keeper: CopyKeeper): Promise<Following | undefined> {
    const ears = { keys, keeper };
    this.#ears.add(ears);
    this.#begin();
    const stop = () => {
      this.#ears.delete(ears);
      this.#relying.delete(keeper);
      if (this.#ears.size === 0) this.close();
    };
    const until = performance.now() + PATIENCE;
    while (!this.isLive && !this.#isRefused && performance.now() < until) await delay(5);
    if (this.#isRefused) {
      stop();
      return undefined;
    }
    this.#relying.add(keeper);
    const isLive = () => this.isLive;
    return {
      get isLive() {
        return isLive();
      },
      stop,
    };
  }

  /** What this node itself changes Redis does not tell it. `where`: a handle, or a bucket. */
  changedHere(of: RedisKeys, where: string): void {
    for (const { keys, keeper } of this.#ears) {
      if (keys !== of) continue;
      if (where.length === 2) keeper.changedIn(where);
      else keeper.changed(where, true);
    }
  }

  close(): void {
    this.#isBegun = false;
    for (const turn of TURNS) this.#events?.off(turn, this.#onTurn);
    for (const one of this.#connections.values()) one.close();
    this.#connections.clear();
  }

  get #isRefused(): boolean {
    return [...this.#connections.values()].some((one) => one.isRefused);
  }

  /** Of a Cluster. */
  get #events(): EventEmitter | undefined {
    const { rawClient } = this.calls;
    return rawClient.nodes && (rawClient as RedisConnection);
  }

  #begin(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    this.#meetMasters();
    // A master that nobody listens to yet is noticed by `isLive` as well: this only is sooner.
    for (const turn of TURNS) this.#events?.on(turn, this.#onTurn);
  }

  readonly #onTurn = () => this.#meetMasters();

  /** Who is a master now: who is none any more may not know what was changed since. */
  #meetMasters(): void {
    const masters = new Set(this.calls.masters);
    for (const [node, connection] of this.#connections) {
      if (masters.has(node)) continue;
      connection.close();
      this.#connections.delete(node);
      this.#lost();
    }
    for (const node of masters) {
      if (this.#connections.has(node)) continue;
      this.#lost();
      this.#connections.set(
        node,
        new TrackedConnection(node, this.calls.patience, {
          changed: (key) => this.#changed(key),
          lost: () => this.#lost(),
          refused: () => this.#refused(),
        }),
      );
    }
  }

  #changed(key: string): void {
    for (const { keys, keeper } of this.#ears) {
      const handle = keys.handleOf(key, this.calls.prefix);
      if (handle !== undefined) keeper.changed(handle);
    }
  }

  #lost(): void {
    for (const { keeper } of this.#ears) keeper.lost();
  }

  /** Where it was not known at the beginning; told once, however many masters say so. */
  #refused(): void {
    if (this.#isRefused) return;
    for (const keeper of this.#relying) keeper.refused?.();
  }
}
