import { systemClock } from '../../core/clock.js';
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
import { SessionDamagedError, SessionStoreUnavailableError } from '../../core/session.errors.js';
import { within, type Deadline } from './file-deadline.js';
import { FileDirectory } from './file-directory.js';
import { checkedOptions, checkLimit, type FileStoreOptions } from './file-store.options.js';
import { FileSweeper, type SweptBatch } from './file-sweeper.js';
import { FileTroubles, orUnusable, Unusable } from './file-troubles.js';
import type { Listing, SessionFolder } from './session-folder.js';
import { newToken, stateOf, type SessionState } from './session-state.js';

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
  readonly #troubles: FileTroubles;
  readonly #now: () => number;
  readonly #timeout: number;

  constructor(options: FileStoreOptions) {
    const { directory, create, durable, sweepEvery, timeout, onTrouble } = checkedOptions(options);
    this.#now = options.now ?? (() => systemClock.now());
    this.#timeout = timeout;
    this.#directory = new FileDirectory({ directory, create, durable });
    this.#troubles = new FileTroubles(onTrouble);
    this.#sweeper = new FileSweeper(this.#directory, this.#now, sweepEvery, this.#troubles);
  }

  load(handle: string, { touch, remaining }: LoadOptions = {}): Promise<LoadedValue | undefined> {
    return this.#in(handle, async (folder, deadline) => {
      const listing = await this.#living(folder);
      if (!listing) return undefined;
      let { state } = listing;
      if (touch !== undefined) {
        state = this.#touched(state, touch);
        deadline.check();
        if (!(await folder.swap(listing, state))) return AGAIN;
      }
      const value = await folder.read(state);
      if (value === undefined) return AGAIN;
      return remaining ? { value, remaining: state.endsAt - this.#now() } : { value };
    });
  }

  create(handle: string, value: StoredValue, { ttl }: CreateOptions): Promise<boolean> {
    return this.#in(handle, async (folder, deadline) => {
      const listing = await folder.list();
      const state = listing?.state;
      if (state && state.endsAt > this.#now()) {
        if (state.version !== versionOf(value)) return false;
        const current = await folder.read(state);
        return current === undefined ? AGAIN : current === value;
      }
      deadline.check();
      if (state && !(await folder.end(listing))) return AGAIN;
      if (listing && !state) await folder.clear(listing.names);
      const next = stateOf(value, this.#now() + ttl, newToken());
      return (await this.#directory.begin(folder, value, next, deadline)) || AGAIN;
    });
  }

  save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome> {
    const { expected, ttl } = options;
    return this.#in<SaveOutcome>(handle, async (folder, deadline) => {
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
      const isDone = await this.#replaced(folder, listing, next, value, deadline);
      return isDone ? { status: 'saved' } : AGAIN;
    });
  }

  touch(handle: string, ttl: number): Promise<boolean> {
    return this.#in(handle, async (folder, deadline) => {
      const listing = await this.#living(folder);
      if (!listing) return false;
      deadline.check();
      return (await folder.swap(listing, this.#touched(listing.state, ttl))) || AGAIN;
    });
  }

  delete(handle: string, _leaves?: readonly Place[]): Promise<StoredValue | undefined> {
    return this.#in(handle, async (folder, deadline) => {
      const listing = await this.#living(folder);
      if (!listing) return undefined;
      const value = await folder.read(listing.state).catch(ended);
      if (value === ENDED) return undefined;
      deadline.check();
      return value !== undefined && (await folder.end(listing)) ? value : AGAIN;
    });
  }

  /** Walks the whole directory. What it cannot look into is left out, and told once by `onTrouble`. */
  async count(): Promise<number> {
    let live = 0;
    await this.#whole(async () => {
      for await (const found of this.#directory.folders()) {
        const listing =
          found instanceof Unusable ? found : await orUnusable(found.name, found.list());
        if (listing instanceof Unusable) {
          this.#troubles.leftOut(listing);
          continue;
        }
        const state = listing?.state;
        if (state && state.kind === LIVE && state.endsAt > this.#now()) live++;
      }
    });
    return live;
  }

  /**
   * Removes sessions whose time is over, and what crashes left behind: one batch, from where the last one
   * ended. The sweeper calls it; beside it, any number of nodes may. What cannot be read or removed is left
   * out, counted, and told once by `onTrouble`.
   *
   * @param limit sessions that are looked at, 1 or more. @default 500
   * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for another limit
   *
   * @example
   * while ((await store.deleteExpired()).more);
   */
  async deleteExpired({ limit }: { limit?: number } = {}): Promise<SweptBatch> {
    checkLimit(limit);
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
    attempt: (folder: SessionFolder, deadline: Deadline) => Promise<T | typeof AGAIN>,
  ): Promise<T> {
    return within(this.#timeout, async (deadline) => {
      await this.#directory.ready();
      const folder = this.#directory.folderOf(handle);
      for (let tries = 0; tries < TRIES; tries++) {
        deadline.check();
        const outcome = await attempt(folder, deadline);
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
    deadline: Deadline,
  ): Promise<boolean> {
    deadline.check();
    try {
      if (!(await folder.write(value, next.token))) return false;
      deadline.check();
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
