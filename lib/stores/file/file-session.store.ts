import { systemClock } from '../../core/clock.js';
import { toMilliseconds, type Duration } from '../../core/duration.js';
import type { Place } from '../../core/session-places.js';
import { LIVE, versionOf } from '../../core/session-record.js';
import type {
  CreateOptions,
  LoadedValue,
  LoadOptions,
  SaveOptions,
  SaveOutcome,
  SessionStore,
  StoredValue,
} from '../../core/session-store.interface.js';
import {
  SessionDamagedError,
  SessionOptionsError,
  SessionStoreUnavailableError,
} from '../../core/session.errors.js';
import { FileDirectory } from './file-directory.js';
import { within } from './file-failure.js';
import { FileSweeper, type SweptBatch } from './file-sweeper.js';
import type { Listing, SessionFolder } from './session-folder.js';
import { newToken, stateOf, type SessionState } from './session-state.js';

/** Where the sessions lie, and how they are kept. */
export interface FileStoreOptions {
  /** A directory for sessions alone, on a disk of this machine or on a mount that all nodes share. */
  directory: string;
  /**
   * Make the directory if it is not there. `false` for a mount: while it is not mounted, requests fail
   * instead of finding an empty directory.
   *
   * @default true
   */
  create?: boolean;
  /** Removes sessions whose time is over so often; `false`: only {@link FileSessionStore.deleteExpired} does. @default '10m' */
  sweepEvery?: Duration | false;
  /**
   * What is acknowledged survives a loss of power, too: it is on the disk (`fsync`). Costs milliseconds
   * on each write. Without it, what was acknowledged survives the end of any process.
   *
   * @default false
   */
  durable?: boolean;
  /** After which a call without an answer fails: a mount whose server is away. @default '5s' */
  timeout?: Duration;
  /** Milliseconds since the epoch. The clocks of all nodes have to agree to about a second (NTP). @default the machine's */
  now?: () => number;
}

/** Somebody else was first so many times in a row; each time, somebody got on. */
const TRIES = 1_000;

/**
 * Sessions in a directory, which several machines may share. No locks: a session's state is the name of a
 * file, and to rename it is to compare and swap. Whoever is ended at whatever moment leaves no torn
 * session, and nothing that others have to wait for.
 *
 * It keeps no indexes and tells no news: `maxSessions`, `indexes`, `events` and `nearCache` do not boot with
 * it, and `forPrincipal()` fails with `SESSION_UNAVAILABLE`.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for a wrong option, or a file system that cannot
 * do what is needed
 * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) from every verb while the directory
 * cannot be used; its message says why
 * @throws SessionDamagedError (`SESSION_DAMAGED`) once, for a session whose file is not whole; it is ended
 *
 * @example
 * SessionModule.forRoot({ store: new FileSessionStore({ directory: 'data/sessions' }) });
 */
export class FileSessionStore implements SessionStore {
  readonly #directory: FileDirectory;
  readonly #sweeper: FileSweeper;
  readonly #now: () => number;
  readonly #timeout: number;

  constructor(options: FileStoreOptions) {
    const { directory, create, durable, sweepEvery, timeout } = checked(options);
    this.#now = options.now ?? (() => systemClock.now());
    this.#timeout = timeout;
    this.#directory = new FileDirectory({ directory, create, durable });
    this.#sweeper = new FileSweeper(this.#directory, this.#now, sweepEvery);
  }

  load(handle: string, { touch, remaining }: LoadOptions = {}): Promise<LoadedValue | undefined> {
    return this.#in(handle, async (folder) => {
      const listing = await this.#living(folder);
      if (!listing) return undefined;
      let { state } = listing;
      if (touch !== undefined) {
        state = this.#touched(state, touch);
        if (!(await folder.swap(listing, state))) return AGAIN;
      }
      const value = await folder.read(state);
      if (value === undefined) return AGAIN;
      return remaining ? { value, remaining: state.endsAt - this.#now() } : { value };
    });
  }

  create(handle: string, value: StoredValue, { ttl }: CreateOptions): Promise<boolean> {
    return this.#in(handle, async (folder) => {
      const listing = await folder.list();
      const state = listing?.state;
      if (state && state.endsAt > this.#now()) {
        if (state.version !== versionOf(value)) return false;
        const current = await folder.read(state);
        return current === undefined ? AGAIN : current === value;
      }
      if (state && !(await folder.end(listing))) return AGAIN;
      if (listing && !state) await folder.clear(listing.names);
      const next = stateOf(value, this.#now() + ttl, newToken());
      return (await this.#directory.begin(folder, value, next)) || AGAIN;
    });
  }

  save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome> {
    const { expected, ttl } = options;
    return this.#in<SaveOutcome>(handle, async (folder) => {
      const listing = await this.#living(folder);
      if (!listing) return { status: 'gone' };
      const { state } = listing;
      if (state.version === versionOf(value)) return { status: 'saved' };
      if (state.version !== expected) {
        const current = await folder.read(state);
        return current === undefined ? AGAIN : { status: 'conflict', current };
      }
      const token = newToken();
      const endsAt = ttl === undefined ? state.endsAt : this.#now() + ttl;
      const next = stateOf(value, endsAt, token, state);
      return (await this.#replaced(folder, listing, next, value)) ? { status: 'saved' } : AGAIN;
    });
  }

  touch(handle: string, ttl: number): Promise<boolean> {
    return this.#in(handle, async (folder) => {
      const listing = await this.#living(folder);
      if (!listing) return false;
      return (await folder.swap(listing, this.#touched(listing.state, ttl))) || AGAIN;
    });
  }

  delete(handle: string, _leaves?: readonly Place[]): Promise<StoredValue | undefined> {
    return this.#in(handle, async (folder) => {
      const listing = await this.#living(folder);
      if (!listing) return undefined;
      const value = await folder.read(listing.state).catch(ended);
      if (value === ENDED) return undefined;
      return value !== undefined && (await folder.end(listing)) ? value : AGAIN;
    });
  }

  /** Walks the whole directory. */
  async count(): Promise<number> {
    let live = 0;
    await this.#whole(async () => {
      for await (const folder of this.#directory.folders()) {
        const state = (await folder.list())?.state;
        if (state && state.kind === LIVE && state.endsAt > this.#now()) live++;
      }
    });
    return live;
  }

  /**
   * Removes sessions whose time is over, and what crashes left behind: one batch, from where the last one
   * ended. The sweeper calls it; beside it, any number of nodes may.
   *
   * @param limit sessions that are looked at. @default 500
   *
   * @example
   * while ((await store.deleteExpired()).more);
   */
  async deleteExpired({ limit }: { limit?: number } = {}): Promise<SweptBatch> {
    let batch: SweptBatch = { deleted: 0, more: false };
    await this.#whole(async () => {
      batch = await this.#sweeper.batch(limit);
    });
    return batch;
  }

  /** Resolves if the directory is there, may be written, and its file system does what is needed. */
  ping(): Promise<void> {
    return within(this.#timeout, () => this.#directory.check());
  }

  /** Ends the sweeper. */
  close(): Promise<void> {
    return this.#sweeper.close();
  }

  /** Tries until nobody else was faster. */
  #in<T>(
    handle: string,
    attempt: (folder: SessionFolder) => Promise<T | typeof AGAIN>,
  ): Promise<T> {
    return within(this.#timeout, async () => {
      await this.#directory.ready();
      const folder = this.#directory.folderOf(handle);
      for (let tries = 0; tries < TRIES; tries++) {
        const outcome = await attempt(folder);
        if (outcome !== AGAIN) return outcome;
      }
      throw new SessionStoreUnavailableError('too many writers of one session', undefined, true);
    });
  }

  /** A walk takes as long as there are sessions. */
  async #whole(walk: () => Promise<void>): Promise<void> {
    await within(this.#timeout, async () => {
      await this.#directory.ready();
      await this.#directory.isThere();
    });
    await within(undefined, walk);
  }

  /** What is there, and its time is not over. */
  async #living(folder: SessionFolder): Promise<Living | undefined> {
    const listing = await folder.list();
    // Nothing there: because it ended, or because nothing at all is there?
    if (!listing) await this.#directory.isThere();
    const state = listing?.state;
    return state && state.endsAt > this.#now() ? { names: listing.names, state } : undefined;
  }

  #touched(state: SessionState, ttl: number): SessionState {
    return { ...state, step: state.step + 1, endsAt: this.#now() + ttl };
  }

  async #replaced(
    folder: SessionFolder,
    listing: Listing,
    next: SessionState,
    value: StoredValue,
  ): Promise<boolean> {
    try {
      if (!(await folder.write(value, next.token))) return false;
    } catch (error) {
      await folder.takeBack(next.token);
      throw error;
    }
    // If this fails it may have been done: then the file stays, for the next who changes something.
    if (await folder.swap(listing, next)) return true;
    return !(await folder.takeBack(next.token));
  }
}

/** Somebody else was faster. */
const AGAIN = Symbol('again');

/** It could not be read, and is ended. */
const ENDED = Symbol('ended');

interface Living extends Listing {
  readonly state: SessionState;
}

function ended(error: unknown): typeof ENDED {
  if (error instanceof SessionDamagedError) return ENDED;
  throw error;
}

function checked(options: FileStoreOptions) {
  const { directory, create = true, durable = false } = options;
  const timeout = toMilliseconds(options.timeout ?? '5s');
  const { sweepEvery: every = '10m' } = options;
  const sweepEvery = every === false ? undefined : toMilliseconds(every);
  const problems: string[] = [];
  if (typeof directory !== 'string' || directory === '' || directory.includes('\0')) {
    problems.push('directory of the file store is no path: give a directory for sessions alone');
  }
  if (timeout === undefined || timeout <= 0) {
    problems.push("timeout of the file store is no duration: use one such as '5s'");
  }
  if (every !== false && (sweepEvery === undefined || sweepEvery <= 0)) {
    problems.push("sweepEvery of the file store is no duration: use one such as '10m', or false");
  }
  if (problems.length > 0) throw new SessionOptionsError(problems);
  return { directory, create, durable, sweepEvery, timeout: timeout as number };
}
