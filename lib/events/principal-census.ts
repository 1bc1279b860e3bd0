import { BUCKETS } from '../core/session-id.js';
import { principalPlace } from '../core/session-places.js';
import type { EventSource } from './event-source.js';

/** How often principals are counted, and how closely it is looked; for tests. */
export interface PrincipalCensusOptions {
  /** Milliseconds from one count to the next. @default 60000 */
  readonly every?: number;
  /** Sessions of each of the 256 buckets that are looked at. @default 100 */
  readonly sample?: number;
}

/**
 * Counts the principals who have a session that is alive. All sessions of a principal stand in one bucket, so those of
 * the buckets add up.
 *
 * A bucket with no more than 100 sessions is counted exactly, so all of them are where there are some 10,000. Of a larger
 * one 100 sessions are chosen at random. Each stands for its part of a principal: the third for one who has three
 * sessions, nothing for one who is nobody's. With `a` live sessions for each principal, and buckets that are about
 * alike, the standard error is at most √((a − 1) / 25,600): 1.3 % for five sessions each, 4.4 % for fifty.
 *
 * A count costs the store 256 commands, and one more for each bucket that is larger; never one of a request. What is
 * sent and decoded for it is bounded, however many sessions there are.
 */
export class PrincipalCensus {
  readonly #every: number;
  readonly #sample: number;
  /** By buckets that were asked in this count; `undefined`: it could not be told. */
  readonly #counted = new Map<string, number | undefined>();
  #begun = -Infinity;
  #principals: number | undefined;

  constructor(
    private readonly source: Pick<EventSource, 'store' | 'news'>,
    { every = 60_000, sample = 100 }: PrincipalCensusOptions = {},
  ) {
    this.#every = every;
    this.#sample = sample;
  }

  /** As of the last count of all buckets; `undefined` before the first, and after one that some were missing in. */
  get principals(): number | undefined {
    return this.#principals;
  }

  /** Begins to count anew, if it is time. */
  begin(): void {
    const now = this.source.news.now();
    // A clock may be set back.
    if (Math.abs(now - this.#begun) < this.#every) return;
    if (!this.#isComplete) this.#principals = undefined;
    this.#counted.clear();
    this.#begun = now;
  }

  /** Counts the principals of a bucket, unless that was tried since {@link begin}. Fails as the store does. */
  async count(bucket: string): Promise<void> {
    if (this.#counted.has(bucket)) return;
    this.#counted.set(bucket, undefined);
    this.#counted.set(bucket, await this.#principalsOf(bucket));
    if (!this.#isComplete) return;
    const all = [...this.#counted.values()].reduce<number>((sum, one = 0) => sum + one, 0);
    this.#principals = Math.round(all);
  }

  /** Another node counts from now on. */
  forget(): void {
    this.#counted.clear();
    this.#begun = -Infinity;
    this.#principals = undefined;
  }

  get #isComplete(): boolean {
    const { size } = this.#counted;
    return size === BUCKETS.length && ![...this.#counted.values()].includes(undefined);
  }

  async #principalsOf(bucket: string): Promise<number | undefined> {
    const { store, news } = this.source;
    const sample = await store.sample?.(bucket, this.#sample);
    if (!sample) return undefined;
    const { waiting, sessions } = sample;
    const seen = new Map<string, number>();
    for (const { handle, notice } of sessions) {
      const principal = news.principalOf(handle, notice);
      if (principal !== undefined) seen.set(principal, (seen.get(principal) ?? 0) + 1);
    }
    if (sessions.length >= waiting || seen.size === 0) return seen.size;
    const places = Array.from(seen.keys(), principalPlace);
    const standing = (await store.awaitedIn?.(bucket, places)) ?? [];
    // A session of theirs may have ended meanwhile, and a place may have been dropped.
    const parts = Array.from(seen.values(), (n, i) => n / Math.max(n, standing[i] ?? 0));
    return (parts.reduce((sum, part) => sum + part, 0) * waiting) / sessions.length;
  }
}
