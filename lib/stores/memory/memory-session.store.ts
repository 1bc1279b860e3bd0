import { LRUCache } from 'lru-cache';
import type { Clock } from '../../core/clock.js';
import { kindOf, LIVE, versionOf } from '../../core/session-record.js';
import type {
  LoadedValue,
  LoadOptions,
  SaveOptions,
  SaveOutcome,
  SessionStore,
  StoredValue,
} from '../../core/session-store.interface.js';

interface Entry {
  value: StoredValue;
  endsAt: number;
}

/** How the memory store is bounded. */
export interface MemoryStoreOptions {
  /** Sessions kept at most; beyond that the least recently used is dropped. @default 100000 */
  maxSessions?: number;
}

/**
 * Sessions in this process, for tests and development: other nodes do not see them, and they end
 * with the process.
 */
export class MemorySessionStore implements SessionStore {
  readonly #entries: LRUCache<string, Entry>;

  constructor(
    private readonly clock: Clock,
    { maxSessions = 100_000 }: MemoryStoreOptions = {},
  ) {
    this.#entries = new LRUCache({ max: maxSessions });
  }

  async load(handle: string, options: LoadOptions = {}): Promise<LoadedValue | undefined> {
    const entry = this.#live(handle);
    if (!entry) return undefined;
    if (options.touch !== undefined) entry.endsAt = this.clock.now() + options.touch;
    if (!options.remaining) return { value: entry.value };
    return { value: entry.value, remaining: entry.endsAt - this.clock.now() };
  }

  async create(handle: string, value: StoredValue, { ttl }: { ttl: number }): Promise<boolean> {
    const entry = this.#live(handle);
    if (entry) return entry.value === value;
    this.#dropSomeExpired();
    this.#entries.set(handle, { value, endsAt: this.clock.now() + ttl });
    return true;
  }

  async save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome> {
    const entry = this.#live(handle);
    if (!entry) return { status: 'gone' };
    const current = versionOf(entry.value);
    if (current === versionOf(value)) return { status: 'saved' };
    if (current !== options.expected) return { status: 'conflict', current: entry.value };
    entry.value = value;
    if (options.ttl !== undefined) entry.endsAt = this.clock.now() + options.ttl;
    return { status: 'saved' };
  }

  async touch(handle: string, ttl: number): Promise<boolean> {
    const entry = this.#live(handle);
    if (!entry) return false;
    entry.endsAt = this.clock.now() + ttl;
    return true;
  }

  async delete(handle: string): Promise<StoredValue | undefined> {
    const entry = this.#live(handle);
    this.#entries.delete(handle);
    return entry?.value;
  }

  async count(): Promise<number> {
    let live = 0;
    for (const { value, endsAt } of this.#entries.values()) {
      if (endsAt > this.clock.now() && kindOf(value) === LIVE) live++;
    }
    return live;
  }

  async ping(): Promise<void> {}

  #live(handle: string): Entry | undefined {
    const entry = this.#entries.get(handle);
    if (!entry || entry.endsAt > this.clock.now()) return entry;
    this.#entries.delete(handle);
    return undefined;
  }

  /** The least recently used are the likeliest to have ended: a few looks per new session suffice. */
  #dropSomeExpired(): void {
    let looks = 4;
    for (const handle of this.#entries.rkeys()) {
      const entry = this.#entries.peek(handle);
      if (entry && entry.endsAt <= this.clock.now()) this.#entries.delete(handle);
      if (--looks === 0) return;
    }
  }
}
