import { setTimeout as delay } from 'node:timers/promises';
import type { CopyKeeper, Following } from '../../core/followed-store.interface.js';
import type { RedisCalls } from './redis-calls.js';
import type { RedisClient } from './redis-client.js';
import type { RedisKeys } from './redis-keys.js';
import { TrackedConnection } from './tracked-connection.js';

/** Milliseconds that booting waits until changes are told. */
const PATIENCE = 1_000;

/** A keeper, and which keys are its. */
interface Ears {
  readonly keys: RedisKeys;
  readonly keeper: CopyKeeper;
}

/**
 * Client tracking: Redis remembers which records were read over a connection, and tells of their next
 * change, whoever makes it. It forgets all when the connection ends, and so do the keepers. In a Cluster
 * each master tells of what it has.
 */
export class RedisTracking {
  readonly #connections = new Map<RedisClient, TrackedConnection>();
  readonly #ears = new Set<Ears>();
  #refused = false;

  constructor(private readonly calls: RedisCalls) {}

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
    if (this.#ears.size === 1) this.#begin();
    const until = performance.now() + PATIENCE;
    while (!this.isLive && !this.#refused && performance.now() < until) await delay(5);
    const stop = () => this.#ears.delete(ears);
    if (this.#refused) {
      stop();
      return undefined;
    }
    const isLive = () => this.isLive;
    return {
      get isLive() {
        return isLive();
      },
      stop,
    };
  }

  close(): void {
    for (const one of this.#connections.values()) one.close();
    this.#connections.clear();
  }

  #begin(): void {
    const { rawClient } = this.calls;
    this.#meetMasters();
    if (!rawClient.nodes) return;
    // A master that nobody listens to yet is noticed by `isLive` as well: this only is sooner.
    for (const event of ['+node', '-node', 'refresh', 'ready']) {
      (rawClient.on as (event: string, listener: () => void) => unknown)?.(event, () =>
        this.#meetMasters(),
      );
    }
  }

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
          refused: () => (this.#refused = true),
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
}
