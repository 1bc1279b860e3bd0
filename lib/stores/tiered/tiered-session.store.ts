import type { FencedSessionStore } from '../../core/fenced-store.interface.js';
import type { HotCopies, HotFinding, LeftBehind, Marked } from '../../core/hot-copies.interface.js';
import type { News } from '../../core/news.interface.js';
import type { Place } from '../../core/session-places.js';
import {
  SessionStoreUnavailableError,
  SessionUnconfirmedError,
} from '../../core/session.errors.js';
import type {
  Admission,
  CreateOptions,
  EndedInPlace,
  IndexedSessionStore,
  LoadedValue,
  LoadOptions,
  PlacedValue,
  PlaceLimit,
  PlaceRange,
  ReplaceOptions,
  SaveOptions,
  SaveOutcome,
  StoredValue,
  WriteOptions,
} from '../../core/session-store.interface.js';
import { contentsPrint } from './contents-print.js';
import { HotSide, isOutage, type OnHotFailure } from './hot-side.js';
import { bringTo, IdleWindows } from './idle-windows.js';
import { Tier } from './tier.js';
import { WriteBehind } from './write-behind.js';

/**
 * When the database has what is written: before the write is acknowledged, or, for changes of contents, some time after.
 */
export type TieredMode = 'write-through' | 'write-behind';

/** What {@link TieredSessionStore} works with. */
export interface TieredSessionStoreParts {
  readonly base: FencedSessionStore;
  readonly hot: HotCopies;
  readonly mode: TieredMode;
  readonly onHotFailure: OnHotFailure;
  /** With write-behind: how often, in milliseconds. */
  readonly flushEvery: number;
  /** Milliseconds that the base keeps what it takes for ended, for what is brought there late. @default 0 */
  readonly outageGrace?: number | undefined;
  readonly onTrouble: (message: string) => void;
  /** Tells of all in a value that is written through in any case; `undefined`: all of it. */
  readonly printOf?: ((value: StoredValue) => string | undefined) | undefined;
}

/** Milliseconds after which it is looked for what nodes that have ended left behind. */
const LOOK_EVERY = 10_000;
/** Sessions of a place that are asked for at once, before all of them are ended. */
const PAGE = 500;

/**
 * Sessions in a base that keeps all of them, with copies of those in use in a faster place in front of it. The base
 * decides; a change is announced at the copies before it is made, so that whatever fails in between leaves no copy which
 * is older than what was acknowledged.
 */
export class TieredSessionStore implements IndexedSessionStore {
  readonly #base: Tier<FencedSessionStore>;
  readonly #hot: Tier<HotCopies>;
  readonly #side: HotSide;
  readonly #behind: WriteBehind;
  readonly #windows: IdleWindows;
  readonly #writesBehind: boolean;
  readonly #refills = new Map<string, Refill>();
  readonly settle: IndexedSessionStore['settle'];

  constructor(private readonly parts: TieredSessionStoreParts) {
    const { base, hot, mode, onTrouble } = parts;
    this.#base = new Tier(base, { name: 'the database', ping: () => base.ping(), onTrouble });
    this.#hot = new Tier(hot, { name: 'Redis', ping: () => hot.ping(), onTrouble });
    this.#side = new HotSide(this.#hot, parts.onHotFailure);
    this.#writesBehind = mode === 'write-behind';
    // Others may still write behind, or have done so before the mode was changed.
    const lookEvery = this.#writesBehind ? LOOK_EVERY : 6 * LOOK_EVERY;
    this.#behind = new WriteBehind({ ...parts, hot: this.#hot, base: this.#base, lookEvery });
    const kept = (handle: string) => this.#behind.wrote(handle);
    this.#windows = new IdleWindows(this.#base, this.#hot, this.#side, kept);
    base.keepLapsed?.(parts.outageGrace ?? 0);
    this.settle = base.settle && ((...args) => this.#base.ask(async () => base.settle?.(...args)));
  }

  get confirms(): boolean {
    return this.parts.base.confirms ?? false;
  }

  async load(handle: string, options: LoadOptions = {}): Promise<LoadedValue | undefined> {
    if (this.#side.isPast(handle)) return this.#read(handle, options);
    let found: HotFinding;
    try {
      found = await this.#hot.ask((copies) => copies.find(handle, options.touch));
    } catch (error) {
      // The base has all, but what was written behind and has not come there yet.
      if (!isOutage(error) || (this.#writesBehind && this.parts.onHotFailure === 'reject'))
        throw error;
      return this.#read(handle, options);
    }
    if (found.status !== 'hit') return this.#readThrough(handle, found, options);
    const { value, remaining } = found;
    const { touch } = options;
    if (touch === undefined) return { value, remaining };
    const moving = this.#windows.moved(handle, value, touch);
    this.#side.beside(moving);
    return { value, remaining, moving };
  }

  /** There is no copy of what was not there: nothing can be out of date. */
  create(handle: string, value: StoredValue, options: CreateOptions): Promise<boolean> {
    return this.#base.ask((base) => base.create(handle, value, options));
  }

  async admit(
    handle: string,
    value: StoredValue,
    options: CreateOptions & { readonly limit: PlaceLimit },
  ): Promise<Admission> {
    const admission = await this.#base.ask((base) => base.admit(handle, value, options));
    const retired = admission.status === 'created' ? admission.retired : [];
    if (retired.length === 0 || (await this.#side.drop(retired))) return admission;
    if (this.parts.onHotFailure === 'bypass') return admission;
    // Whoever gave way may still be served elsewhere.
    throw new SessionUnconfirmedError();
  }

  async save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome> {
    const here = await this.#saveHere(handle, value, options);
    if (here !== 'through') return here;
    return this.#writeThrough(
      handle,
      (base) => base.save(handle, value, options),
      ({ status }, { remaining }) => {
        const window = options.ttl ?? remaining;
        if (status === 'saved' && window !== undefined) return { value, remaining: window };
        return status === 'gone' ? 'gone' : undefined;
      },
    );
  }

  replace(handle: string, value: StoredValue, options: ReplaceOptions) {
    return this.#writeThrough(
      handle,
      (base) => base.replace(handle, value, options),
      ({ status }) => {
        if (status === 'saved') return { value, remaining: options.ttl };
        return status === 'gone' ? 'gone' : undefined;
      },
    );
  }

  async touch(handle: string, ttl: number): Promise<boolean> {
    const isMoved = await this.#base
      .ask((base) => base.touch(handle, ttl))
      .catch((error: unknown) => {
        if (!isOutage(error)) throw error;
        return false;
      });
    if (isMoved) this.#side.beside(this.#hot.ask((copies) => copies.touch(handle, ttl)));
    // A copy may know of a window that the base could not be told of.
    const loaded = isMoved ? undefined : await this.load(handle, { touch: ttl });
    return isMoved || (loaded !== undefined && (await loaded.moving) !== false);
  }

  /** Ended in both, or it fails. */
  async delete(
    handle: string,
    leaves?: readonly Place[],
    options?: WriteOptions,
  ): Promise<StoredValue | undefined> {
    const { token, marked, failure } = await this.#side.announceEnd([handle]);
    await this.#bring(handle, marked[0]);
    const value = await this.#base.ask((base) => base.delete(handle, leaves, options));
    if (failure) this.#side.owe([handle]);
    if (failure) throw failure;
    await this.#side.done([handle], token, 'gone');
    return value;
  }

  list(bucket: string, place: Place, range: PlaceRange): Promise<PlacedValue[]> {
    return this.#base.ask((base) => base.list(bucket, place, range));
  }

  countIn(bucket: string, place: Place): Promise<number> {
    return this.#base.ask((base) => base.countIn(bucket, place));
  }

  /** Ended in both, or it fails. */
  async endIn(bucket: string, place: Place, except?: string, news?: News): Promise<EndedInPlace> {
    const handles: string[] = [];
    for await (const one of this.#standing(bucket, place)) if (one !== except) handles.push(one);
    const { token, failure } = await this.#side.announceEnd(handles);
    const ended = await this.#base.ask((base) => base.endIn(bucket, place, except, news));
    const known = new Set(handles);
    const came = (ended.handles ?? []).filter((one) => !known.has(one));
    if (failure) this.#side.owe([...handles, ...came]);
    if (failure) throw failure;
    if (came.length > 0 && !(await this.#side.drop(came))) {
      throw new SessionStoreUnavailableError('Redis: not all copies were dropped', undefined, true);
    }
    await this.#side.done(handles, token, 'gone');
    return ended;
  }

  placesOf(index: string): AsyncIterable<{ bucket: string; place: Place }> {
    return this.parts.base.placesOf(index);
  }

  count(): Promise<number> {
    return this.#base.ask((base) => base.count());
  }

  async ping(): Promise<void> {
    await this.#base.ask((base) => base.ping());
    if (this.parts.onHotFailure === 'reject') await this.#hot.ask((copies) => copies.ping());
  }

  /** Brings to the base now what was written behind, by whatever node; resolves when it has all that can be brought. */
  flush(): Promise<void> {
    return this.#behind.flush();
  }

  /** Resolves when nothing is done any more that nobody waits for, but for what is written behind. */
  settled(): Promise<void> {
    return this.#side.settled();
  }

  async close(): Promise<void> {
    await this.#side.settled();
    await this.#behind.close();
    for (const part of [this.#side, this.#hot, this.#base]) part.close();
    await this.parts.hot.close();
    await this.parts.base.close?.();
  }

  #read(handle: string, options: LoadOptions): Promise<LoadedValue | undefined> {
    return this.#base.ask((base) => base.load(handle, options));
  }

  /** Whoever asks for the same, while nobody has begun to change it, shares what is read. */
  async #readThrough(
    handle: string,
    found: Exclude<HotFinding, { status: 'hit' }>,
    { touch }: LoadOptions,
  ): Promise<LoadedValue | undefined> {
    const known = this.#refills.get(handle);
    if (found.status === 'leased' && known?.lease === found.lease && touch === undefined) {
      return known.read;
    }
    const read = this.#bring(handle, found).then(() =>
      this.#read(handle, { touch, remaining: true }),
    );
    if (found.status !== 'miss') return read;
    const refill: Refill = { lease: found.lease, read };
    this.#refills.set(handle, refill);
    try {
      const loaded = await read;
      const left = loaded && { value: loaded.value, remaining: loaded.remaining ?? touch ?? 0 };
      this.#side.beside(this.#hot.ask((copies) => copies.fill(handle, found.lease, left)));
      return loaded;
    } finally {
      if (this.#refills.get(handle) === refill) this.#refills.delete(handle);
    }
  }

  /** Only contents, and only where their newest value is: all else is for the base to decide. */
  async #saveHere(
    handle: string,
    value: StoredValue,
    { expected, ttl, standing, leaves = [], confirm }: SaveOptions,
  ): Promise<SaveOutcome | 'through'> {
    const { onHotFailure, printOf = contentsPrint } = this.parts;
    if (!this.#writesBehind || standing || leaves.length > 0 || confirm) return 'through';
    const print = this.#side.isPast(handle) ? undefined : printOf(value);
    if (print === undefined) return 'through';
    try {
      const save = { expected, ttl };
      const outcome = await this.#hot.ask((copies) => copies.save(handle, value, print, save));
      if (outcome !== 'through' && outcome.status === 'saved') this.#behind.wrote(handle);
      return outcome;
    } catch (error) {
      if (!isOutage(error) || onHotFailure === 'reject') throw error;
      return 'through';
    }
  }

  /**
   * Announced at the copies, then made in the base, then told to the copies. Fails in between: the mark stays for as long
   * as a change may take, and the base is asked; what the copy knew of the idle window is not forgotten.
   */
  async #writeThrough<T>(
    handle: string,
    write: (base: FencedSessionStore) => Promise<T>,
    leaves: (outcome: T, marked: Marked) => LeftBehind,
  ): Promise<T> {
    // Before anything is announced: a copy is worth more than a change that cannot be made.
    this.#base.check();
    const marked = await this.#side.announce(handle);
    const outcome = await this.#bring(handle, marked)
      .then(() => this.#base.ask(write))
      .catch((error: unknown) => {
        if (marked && isOutage(error)) this.#side.beside(this.#windows.keep(handle));
        throw error;
      });
    if (marked) await this.#side.done([handle], marked.token, leaves(outcome, marked));
    return outcome;
  }

  /** What is newer here comes first: whatever is done next is done on it. */
  async #bring(handle: string, { behind }: Pick<Marked, 'behind'> = {}): Promise<void> {
    if (!behind) return;
    await this.#base.ask((base) => bringTo(base, handle, behind));
  }

  async *#standing(bucket: string, place: Place): AsyncGenerator<string> {
    let after: PlacedValue | undefined;
    do {
      const range = { limit: PAGE, after };
      const page: PlacedValue[] = await this.#base.ask((base) => base.list(bucket, place, range));
      for (const { handle } of page) yield handle;
      after = page.length < PAGE ? undefined : page.at(-1);
    } while (after);
  }
}

/** A read in the base whose value is left at the copies by its lease. */
interface Refill {
  readonly lease: string;
  readonly read: Promise<LoadedValue | undefined>;
}
