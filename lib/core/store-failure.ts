import type { StoredValue } from './session-store.interface.js';

/**
 * What becomes of a request whose session cannot be read because the store does not answer: it is
 * refused (503), or goes on without a session, or with what this node read lately.
 */
export type StoreFailurePolicy = 'reject' | 'anonymous' | 'stale';

export const STORE_FAILURE_POLICIES: readonly StoreFailurePolicy[] = [
  'reject',
  'anonymous',
  'stale',
];

/** What a cache must be able to do: a `Map` would, if it had a bound. */
export interface BoundedCache<Value extends object> {
  get(key: string): Value | undefined;
  set(key: string, value: Value): unknown;
  delete(key: string): unknown;
  clear(): void;
}

/** A value as it was read or written last; none if the session was ended, or changed by somebody else. */
export interface RecentValue {
  readonly value: StoredValue | undefined;
  readonly at: number;
  /** It was changed: what is read from then on counts. */
  readonly changed?: true | undefined;
}

/**
 * Sessions as this node has seen them lately, for the time of an outage only. What was ended stays so: a
 * read that was under way meanwhile does not bring it back.
 */
export class RecentSessions {
  #clearedAt = -Infinity;

  /** @param staleFor milliseconds after which what was seen counts no more */
  constructor(
    private readonly cache: BoundedCache<RecentValue>,
    private readonly staleFor: number,
  ) {}

  /** @param at when the reading or writing began */
  seen(handle: string, value: StoredValue, at: number): void {
    if (at <= this.#clearedAt) return;
    const known = this.cache.get(handle);
    if (known?.changed && at <= known.at) return;
    const isEnded = known !== undefined && known.value === undefined && !known.changed;
    if (isEnded && Math.abs(at - known.at) <= this.staleFor) return;
    if (known?.value !== undefined && isNewer(known.value, value)) return;
    this.cache.set(handle, { value, at });
  }

  get(handle: string, now: number): StoredValue | undefined {
    const recent = this.cache.get(handle);
    return recent && Math.abs(now - recent.at) <= this.staleFor ? recent.value : undefined;
  }

  /** It has ended, or goes on under another handle; or, without a time, it is not there. */
  forget(handle: string, endedAt?: number): void {
    if (endedAt === undefined) this.cache.delete(handle);
    else this.cache.set(handle, { value: undefined, at: endedAt });
  }

  /**
   * Somebody else has changed it, or ended it: which of them is not told, so what was seen before counts no more.
   *
   * @param isUnderWay a read is, which may be from before
   */
  changed(handle: string, now: number, isUnderWay: boolean): void {
    const known = this.cache.get(handle);
    // What was ended here stays so; of what is not known there is nothing to forget.
    if (known ? known.value === undefined && !known.changed : !isUnderWay) return;
    this.cache.set(handle, { value: undefined, at: now, changed: true });
  }

  /** Sessions were ended, and it is not known which. */
  clear(now: number): void {
    this.#clearedAt = now;
    this.cache.clear();
  }
}

/** The counter that a version begins with tells older from newer. */
const isNewer = (one: StoredValue, other: StoredValue): boolean =>
  one.slice(0, 8) > other.slice(0, 8);
