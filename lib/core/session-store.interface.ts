/**
 * What a store keeps of one session: the encoded record. Its first {@link VERSION_LENGTH}
 * characters are its version, unique for every write; the rest is opaque to a store.
 */
export type StoredValue = string;

/** Length of the version that every stored value begins with. */
export const VERSION_LENGTH = 14;

/** A loaded session. */
export interface LoadedValue {
  readonly value: StoredValue;
  /** Milliseconds left until the idle window ends; given when `remaining` was asked for. */
  readonly remaining?: number;
}

/** How to load. */
export interface LoadOptions {
  /** Start the idle window anew, in milliseconds, in the same step; `undefined`: leave it as it is. */
  readonly touch?: number | undefined;
  /** Tell how long the idle window still is. */
  readonly remaining?: boolean;
}

/** How to save. */
export interface SaveOptions {
  /** The version that the change was made on. */
  readonly expected: string;
  /** The new idle window in milliseconds; absent: it stays as it is. */
  readonly ttl?: number;
}

/** What became of a save. */
export type SaveOutcome =
  | { readonly status: 'saved' }
  | { readonly status: 'gone' }
  | { readonly status: 'conflict'; readonly current: StoredValue };

/**
 * Where sessions are kept. The contract in one line: **absence is `undefined` or `'gone'`, an
 * outage is an error, and nothing but `create` ever makes a session exist.**
 *
 * Every verb is atomic for its handle, and writing the same value twice is the same as once: a
 * command whose reply was lost may be sent again. Prove an implementation with
 * `describeSessionStore` from `nestjs-distributed-session/testing`.
 *
 * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) from every verb when the
 * backend cannot be reached or refuses
 */
export interface SessionStore {
  /** The value of a handle, `undefined` if there is none or its time is over. */
  load(handle: string, options?: LoadOptions): Promise<LoadedValue | undefined>;

  /** Stores a new session for `ttl` milliseconds; `false`, and nothing done, if the handle is taken by another value. */
  create(handle: string, value: StoredValue, options: { ttl: number }): Promise<boolean>;

  /** Replaces the value if the stored version is `expected`. Never creates. */
  save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome>;

  /** Starts the idle window anew; `false` if there is no such session. Never creates. */
  touch(handle: string, ttl: number): Promise<boolean>;

  /** Ends a session and returns what was stored; `undefined` if there was none. */
  delete(handle: string): Promise<StoredValue | undefined>;

  /**
   * How many sessions are stored; a value with another kind than `'1'` after its version is what a
   * renewed id left behind, and is none. May walk the whole store: for operators, not for requests.
   */
  count(): Promise<number>;

  /** Resolves if the store answers now. */
  ping(): Promise<void>;

  /** Gives back what the store itself opened. */
  close?(): Promise<void>;
}
