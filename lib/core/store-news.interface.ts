import type { NewsKind } from './news.interface.js';
import type { Place } from './session-places.js';
import type { SessionStore } from './session-store.interface.js';

/** What was told: the message, and a line `handle instant notice` for each session that it is about. */
export interface Told {
  /**
   * Where it stands in what its bucket has told: the store's time in milliseconds, `-`, and a number. What was told since
   * a moment is what comes after `<moment>-0`.
   */
  readonly position: string;
  readonly kind: NewsKind;
  readonly text: string;
}

/** A time in which a node heard nothing. */
export interface Silence {
  /** Milliseconds that it took. */
  readonly duration: number;
  /** What was told meanwhile was heard afterwards. */
  readonly complete: boolean;
}

/** Who listens. */
export interface Hearing {
  told(text: string, bucket: string): void;
  /** Somebody has sent this text by {@link StoreNews.call}. */
  called(text: string): void;
  missed(silence: Silence): void;
  /**
   * `false` as soon as it is known that not all is heard, `true` when it is again, before {@link missed} says so. A store
   * that does not call it is taken to hear all.
   */
  hears?(all: boolean): void;
  /** The backend does not let its user hear any more. It is tried on, and `hears` tells when that is over. */
  refused?(): void;
}

/** What became of a sweep. */
export interface Sweep {
  /** Sessions that were found to be over, and told of. */
  readonly ended: number;
  /** There may be more. */
  readonly more: boolean;
  /** Sessions of the bucket whose end is awaited still; for metrics. */
  readonly waiting?: number;
  /** For how long the one that waited longest had been over, in milliseconds; for metrics. */
  readonly lag?: number;
}

/** Some of the sessions of a bucket whose end is awaited. */
export interface AwaitedSample {
  /** How many are awaited in all. */
  readonly waiting: number;
  /** Those that were chosen, and what is told of each; an empty notice: nothing is known. */
  readonly sessions: readonly { readonly handle: string; readonly notice: string }[];
}

/** What a store tells, and remembers for a while; and when sessions end by time. */
export interface StoreNews {
  /** Hears what is told from now on, on whatever node; until the store is closed. */
  listen(hearing: Hearing): Promise<void>;

  /** Nobody hears anything any more. */
  close?(): void;

  /** Sends a text to all who listen; nobody remembers it. */
  call(bucket: string, text: string): Promise<void>;

  /** Tells of sessions of a bucket that are over by time, some hundred at once; of each exactly once. */
  sweep(bucket: string, message: string): Promise<Sweep>;

  /**
   * Awaited sessions of a bucket, chosen at random and none twice; all of them if there are no more than `limit`. For
   * metrics: without it nobody is told how many principals are live.
   */
  sample?(bucket: string, limit: number): Promise<AwaitedSample>;

  /**
   * How many awaited sessions stand in each of these places of a bucket, in their order; where very many do it may be
   * estimated. Asked for the principals of a {@link sample} that was not all.
   */
  awaitedIn?(bucket: string, places: readonly Place[]): Promise<number[]>;

  /** What a bucket has told lately, oldest first, from behind a position. */
  recall(bucket: string, after: string | undefined, limit: number): Promise<Told[]>;

  /** Takes a lease, or goes on with it; `false` while somebody else has it. */
  lease(name: string, holder: string, ttl: number): Promise<boolean>;

  /** Gives a lease back. */
  release(name: string, holder: string): Promise<void>;

  /** Up to where a group has dealt with what a bucket has told. */
  progress(bucket: string, group: string): Promise<string | undefined>;

  /** A group has dealt with it up to here; kept for at least as long as what was told. */
  advance(bucket: string, group: string, position: string): Promise<void>;
}

/**
 * A store that tells what happens, in the same step in which it happens: no change without its news, no
 * news without its change.
 */
export interface TellingSessionStore extends SessionStore {
  readonly news: StoreNews;
}

/** Whether a store tells what happens. */
export const isTelling = (store: SessionStore): store is TellingSessionStore =>
  typeof (store as Partial<TellingSessionStore>).news?.listen === 'function';

/** Whether a position of what was {@link Told} comes before another one of the same bucket. */
export function isBehind(one: string, other: string): boolean {
  const [time = 0, n = 0] = one.split('-').map(Number);
  const [otherTime = 0, otherN = 0] = other.split('-').map(Number);
  return time === otherTime ? n < otherN : time < otherTime;
}
