import type { Place } from './session-places.js';

/** A place as it stands in one bucket. */
export interface PlaceInBucket {
  readonly bucket: string;
  readonly place: Place;
}

/** What a list has about a session. */
export interface RevocationAnswer {
  /** What was noted of its handle; `undefined`: it was not ended. */
  readonly entry: string | undefined;
  /** The epoch that began last in each of the places asked for, in their order. */
  readonly epochs: readonly (string | undefined)[];
}

/**
 * What was ended of sessions that clients carry: handles one by one, and all that stood in a place by an epoch.
 * It is asked with every load, so it should be as near as a session store would be.
 *
 * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) from every verb when it does not answer:
 * that is never taken for "not revoked"
 */
export interface RevocationList {
  /** One question for each load; in one round trip. */
  ask(handle: string, places: readonly PlaceInBucket[]): Promise<RevocationAnswer>;
  /** Notes something of a handle for `ttl` milliseconds, and tells what was noted before, in one step. */
  note(handle: string, entry: string, ttl: number): Promise<string | undefined>;
  /** Another epoch begins in a place, and is known for `ttl` milliseconds. */
  begin(at: PlaceInBucket, epoch: string, ttl: number): Promise<void>;
  /** Resolves if the list answers now. */
  ping(): Promise<void>;
  /** Gives back what the list itself opened. */
  close?(): Promise<void>;
}
