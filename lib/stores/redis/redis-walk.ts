import type { Place } from '../../core/session-places.js';
import { LIVE } from '../../core/session-record.js';
import { VERSION_LENGTH } from '../../core/session-store.interface.js';
import { isOtherType, RecentKeys } from './recent-keys.js';
import type { RedisCalls } from './redis-calls.js';
import type { RedisClient } from './redis-client.js';
import type { RedisKeys } from './redis-keys.js';

/** Walks of operators over the whole key space: with SCAN, on every master; never KEYS. */
export class RedisWalk {
  constructor(
    private readonly calls: RedisCalls,
    private readonly keys: RedisKeys,
  ) {}

  async *placesOf(index: string): AsyncGenerator<{ bucket: string; place: Place }> {
    for (const node of this.calls.masters) {
      for await (const keys of this.#scan(node, this.keys.indexPattern(index))) {
        yield* keys.map((key) => this.keys.placeOf(key));
      }
    }
  }

  /** How many sessions there are. */
  async count(): Promise<number> {
    const counts = await Promise.all(this.calls.masters.map((node) => this.#countOn(node)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async #countOn(node: RedisClient): Promise<number> {
    const recent = new RecentKeys();
    let count = 0;
    for await (const keys of this.#scan(node, this.keys.recordPattern)) {
      const fresh = keys.filter((key) => recent.add(key));
      const live = await Promise.all(fresh.map((key) => this.#isLive(key)));
      count += live.filter(Boolean).length;
    }
    return count;
  }

  /** Keys as the store names them; the server has them with the client's prefix. */
  async *#scan(node: RedisClient, pattern: string): AsyncGenerator<string[]> {
    const clientPrefix = this.calls.prefix;
    let cursor = '0';
    do {
      const page = node.scan(cursor, 'MATCH', clientPrefix + pattern, 'COUNT', 1_000);
      const [next, keys] = await this.calls.bounded(page);
      yield keys.map((key) => key.slice(clientPrefix.length));
      cursor = String(next);
    } while (cursor !== '0');
  }

  async #isLive(key: string): Promise<boolean> {
    const kind = this.calls.client.getrange(key, VERSION_LENGTH, VERSION_LENGTH);
    // What somebody else has put there is no session.
    const known = kind.catch((error: Error) => {
      if (isOtherType(error)) return undefined;
      throw error;
    });
    return (await this.calls.bounded(known)) === LIVE;
  }
}
