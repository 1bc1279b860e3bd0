import type { SaveOutcome, StoredValue } from './session-store.interface.js';

/** A value, and how long its idle window still is, in milliseconds. */
export interface WindowedValue {
  readonly value: StoredValue;
  readonly remaining: number;
}

/** What there is of a handle. */
export type HotFinding =
  | ({ readonly status: 'hit' } & WindowedValue)
  | {
      /**
       * `miss`: whoever has asked may leave here what it finds in the base, by its lease. `leased`: somebody else may, and
       * nobody has begun to change the session since. `marked`: somebody is changing it just now.
       */
      readonly status: 'miss' | 'leased' | 'marked';
      readonly lease: string;
      /** What the base may not have yet: it is to be brought there before the base is asked. */
      readonly behind?: WindowedValue | undefined;
    };

/** What was there when a change began. */
export interface Marked {
  /** What was left of the idle window; absent: nothing is known of it. */
  readonly remaining?: number | undefined;
  /** See {@link HotFinding}. */
  readonly behind?: WindowedValue | undefined;
}

/** What is to be left when a change has ended: a value, nothing because the session is gone, or nothing known. */
export type LeftBehind = WindowedValue | 'gone' | undefined;

/** A change of contents that is to be made here first. */
export interface HotSave {
  /** The version that the change was made on. */
  readonly expected: string;
  /** The new idle window in milliseconds; absent: it stays as it is. */
  readonly ttl?: number | undefined;
}

/** A session whose newest value or idle window the base does not have yet; without a value there is none here any more. */
export interface BehindEntry {
  readonly id: string;
  readonly handle: string;
  readonly newest?: WindowedValue | undefined;
}

/** What came of bringing it: the base has it, it is to be tried again, or the base has something else for good. */
export interface BehindOutcome {
  readonly entry: BehindEntry;
  readonly became: 'brought' | 'again' | 'superseded';
}

/**
 * Copies of sessions in a fast place that may forget all of them at any moment, in front of a base that does not.
 * What keeps an old copy from ever being taken for a new one:
 *
 * - who is about to change the base leaves a **mark** first: then no copy is served, and none can be left;
 * - what was read in the base is left by a **lease** only, which every mark takes away;
 * - whatever was lost here (a mark, a lease, all of it) makes leaving a copy impossible, not possible.
 */
export interface HotCopies {
  /** @param touch start the idle window anew, in milliseconds */
  find(handle: string, touch?: number): Promise<HotFinding>;
  /** Leaves what was found in the base; `undefined`: there is none. `false` if the lease holds no more. */
  fill(handle: string, lease: string, found: WindowedValue | undefined): Promise<boolean>;
  /** Says that sessions of one bucket are about to be changed in the base. */
  mark(handles: readonly string[], token: string): Promise<Marked[]>;
  /** Says that it is done. A value is left only if nobody else has changed the session meanwhile. */
  release(handles: readonly string[], token: string, left: LeftBehind): Promise<void>;
  /** Serves what is there of sessions of one bucket to nobody any more. @param ended they are over */
  drop(handles: readonly string[], ended: boolean): Promise<void>;
  /** Starts the idle window of a copy anew, if there is one. */
  touch(handle: string, ttl: number): Promise<void>;
  /**
   * Replaces a copy by a value that is brought to the base later; `'through'` if only the base can decide.
   *
   * @param print of all in the value that must not be written this way; the copy must have the same
   */
  save(
    handle: string,
    value: StoredValue,
    print: string,
    options: HotSave,
  ): Promise<SaveOutcome | 'through'>;
  /**
   * Keeps a copy for its whole idle window, which could not be moved in the base, and brings it there later. `false` if
   * there is no copy, or too much waits already.
   */
  keep(handle: string): Promise<boolean>;
  /** Some sessions of a bucket that the base is behind of; who takes them has them for some seconds. */
  take(bucket: string, count: number): Promise<BehindEntry[]>;
  done(bucket: string, outcomes: readonly BehindOutcome[]): Promise<void>;
  ping(): Promise<void>;
  close(): Promise<void>;
}
