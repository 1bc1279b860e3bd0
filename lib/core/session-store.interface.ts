import type { News } from './news.interface.js';
import type { Place } from './session-places.js';
import type { StoreAbilities } from './store-abilities.js';

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
  /** It is kept on this node, for the next who asks. */
  readonly copy?: SessionCopy | undefined;
  /** It comes from such a copy, and was not read just now. */
  readonly served?: boolean;
  /** Its idle window is being moved beside; fails if that was not possible. */
  readonly moving?: Promise<unknown> | undefined;
}

/** What a near cache keeps of one value. */
export interface SessionCopy {
  /** The value as it was decoded once, frozen: whoever asks shares it. */
  record?: unknown;
}

/** What a request makes of copies that this node keeps: a store that keeps none ignores it. */
export interface NearRead {
  /** None will do: the store itself is asked. */
  readonly strong: boolean;
  /** The count that the version of a copy must have at least: its client has seen as much. */
  readonly atLeast?: number | undefined;
  /** Until when the session lives as far as the caller knows, in milliseconds since the epoch. */
  readonly until?: number | undefined;
}

/** How to load. */
export interface LoadOptions {
  /** Start the idle window anew, in milliseconds, in the same step; `undefined`: leave it as it is. */
  readonly touch?: number | undefined;
  /** Tell how long the idle window still is. */
  readonly remaining?: boolean;
  /** A request asks; absent: a copy is neither served nor made. */
  readonly near?: NearRead | undefined;
  /** See {@link FollowOptions}. */
  readonly follow?: boolean | undefined;
}

/** Of a store that can be followed. */
export interface FollowOptions {
  /** A copy is kept of what this leaves in the store: its next change by somebody else is to be told. */
  readonly follow?: boolean | undefined;
}

/** Where a session stands in indexes. A store that keeps none ignores it. */
export interface Standing {
  /** Places of the handle's own bucket. */
  readonly places: readonly Place[];
  /**
   * What a place is sorted by: when the session was authenticated or, if it was not, created. Negative: it
   * stands there, but limits do not count it.
   */
  readonly since: number;
  /** Milliseconds that the session can live at most: its places must stay as long. */
  readonly life: number;
}

/** How to write. */
export interface WriteOptions {
  /**
   * It is about who is logged in: if the store can lose what it has acknowledged, it has to make sure of
   * this, or fail with SessionUnconfirmedError (`SESSION_UNCONFIRMED`).
   */
  readonly confirm?: boolean;
  /** What is told in the same step; a store that tells nothing ignores it. */
  readonly news?: News | undefined;
}

/** How to create. */
export interface CreateOptions extends WriteOptions {
  readonly ttl: number;
  readonly standing?: Standing | undefined;
}

/** How to save. */
export interface SaveOptions extends WriteOptions, FollowOptions {
  /** The version that the change was made on. */
  readonly expected: string;
  /** The new idle window in milliseconds; absent: it stays as it is. */
  readonly ttl?: number;
  /** Where it stands from now on; absent: as before. */
  readonly standing?: Standing | undefined;
  /** Places that it leaves. */
  readonly leaves?: readonly Place[] | undefined;
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
  /** What it cannot do that others can. @default it can do all that its verbs say */
  readonly abilities?: Partial<StoreAbilities> | undefined;

  /** It may lose what it has acknowledged, and so confirms what it is asked to. */
  readonly confirms?: boolean;

  /** The value of a handle, `undefined` if there is none or its time is over. */
  load(handle: string, options?: LoadOptions): Promise<LoadedValue | undefined>;

  /** Stores a new session for `ttl` milliseconds; `false`, and nothing done, if the handle is taken by another value. */
  create(handle: string, value: StoredValue, options: CreateOptions): Promise<boolean>;

  /** Replaces the value if the stored version is `expected`. Never creates. */
  save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome>;

  /** Starts the idle window anew; `false` if there is no such session. Never creates. */
  touch(handle: string, ttl: number): Promise<boolean>;

  /** Ends a session, which leaves the given places, and returns what was stored; `undefined` if there was none. */
  delete(
    handle: string,
    leaves?: readonly Place[],
    options?: WriteOptions,
  ): Promise<StoredValue | undefined>;

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

/** What happens to a session that would be one too many: it is refused, or others give way. */
export type OnLimit = 'reject' | 'retire-oldest' | 'retire-least-recently-used';

/** How many sessions may stand in a place. */
export interface PlaceLimit {
  /** One of the places where the new session is going to stand. */
  readonly place: Place;
  readonly max: number;
  readonly onLimit: OnLimit;
  /** Idle windows in milliseconds: how long ago a session was used is what is missing of its window. */
  readonly idleTimeout: number;
  /** Of sessions whose handle is a lasting one's. */
  readonly lastingIdleTimeout: number;
}

/** What became of a session that was to be admitted to a place with a limit. */
export type Admission =
  | {
      readonly status: 'created';
      /** Handles of sessions that gave way. */
      readonly retired: readonly string[];
    }
  | { readonly status: 'taken' }
  | { readonly status: 'full' };

/** A session that goes on under another handle. */
export interface Replacement {
  /** Another handle of the same bucket, for the session that goes on. */
  readonly handle: string;
  readonly value: StoredValue;
  readonly ttl: number;
  readonly standing: Standing;
}

/** How to replace. */
export interface ReplaceOptions extends WriteOptions {
  /** The version that the change was made on. */
  readonly expected: string;
  /** How long the old handle keeps what leads on, in milliseconds. */
  readonly ttl: number;
  /** Places that the old handle leaves. */
  readonly leaves: readonly Place[];
  readonly next: Replacement;
}

/** A session as it stands in a place. */
export interface PlacedValue {
  readonly handle: string;
  readonly since: number;
  /** The value's beginning: all that comes before its first line end. */
  readonly head: string;
  /** Milliseconds left until the idle window ends. */
  readonly remaining: number;
}

/** Which part of a place: newest first, from behind a session that was listed before. */
export interface PlaceRange {
  readonly limit: number;
  readonly after?: { readonly handle: string; readonly since: number } | undefined;
}

/** What was ended in a place. */
export interface EndedInPlace {
  /** Sessions that were alive. */
  readonly ended: number;
  /** What stood there and was no session: pointers of renewed ids. */
  readonly pointers: readonly StoredValue[];
  /** Handles of all that stood there; a store that has a fence tells them. */
  readonly handles?: readonly string[] | undefined;
}

/**
 * A store that keeps indexes as well. A session and its places are written in one step: whoever reads a
 * place sees all sessions that belong there. Entries whose session has ended by time or eviction drop
 * out as they are met.
 */
export interface IndexedSessionStore extends SessionStore {
  /** As `create`, unless a place has no room left: decided and done in one step. */
  admit(
    handle: string,
    value: StoredValue,
    options: CreateOptions & { readonly limit: PlaceLimit },
  ): Promise<Admission>;

  /**
   * In one step: the session goes on under another handle, and `value` is what is left at the old one.
   * A session that is just being ended by {@link endIn} is gone.
   */
  replace(
    handle: string,
    value: StoredValue,
    options: ReplaceOptions,
  ): Promise<SaveOutcome | { readonly status: 'taken' }>;

  /** Part of the sessions in a place. */
  list(bucket: string, place: Place, range: PlaceRange): Promise<PlacedValue[]>;

  /** How many sessions stand in a place. */
  countIn(bucket: string, place: Place): Promise<number>;

  /**
   * Ends all sessions that stand in a place at one moment, but for one. When it resolves none of them
   * exists any more, under whatever handle; sessions that were created after the moment live. To be
   * confirmed as {@link WriteOptions} says.
   */
  endIn(bucket: string, place: Place, except?: string, news?: News): Promise<EndedInPlace>;

  /**
   * Puts a session that still has this version where it stands, should the backend have lost that. Called now and then for
   * sessions in use; a store that loses nothing has it not.
   */
  settle?(handle: string, version: string, standing: Standing): Promise<void>;

  /** All places of an index, whatever their value. Walks the whole store: for operators. */
  placesOf(index: string): AsyncIterable<{ readonly bucket: string; readonly place: Place }>;
}

/** Whether a store keeps indexes. */
export const isIndexed = (store: SessionStore): store is IndexedSessionStore =>
  ['admit', 'replace', 'list', 'countIn', 'endIn', 'placesOf'].every(
    (verb) => typeof (store as unknown as Record<string, unknown>)[verb] === 'function',
  );
