import type { FollowedSessionStore, Following } from '../../core/followed-store.interface.js';
import type { NearCacheFigures } from '../../core/near-cache-figures.js';
import { LRUCache } from 'lru-cache';
import { bucketOfHandle } from '../../core/session-id.js';
import {
  isIndexed,
  type IndexedSessionStore,
  type LoadedValue,
  type LoadOptions,
  type NearRead,
  type SaveOptions,
  type SaveOutcome,
  type SessionStore,
  type StoredValue,
} from '../../core/session-store.interface.js';
import { InFlight, type Done, type Flight } from './in-flight.js';
import { isBehind, NearCopies, type NearCopiesOptions, type NearCopy } from './near-copies.js';

/** Milliseconds in which a write that has failed may be carried out after all. */
const UNSURE = 2_000;

/**
 * Keeps copies of sessions that are in use on this node, in front of a store that tells when they are
 * changed elsewhere. Everything is written to the store first, and only then here. What is not certain
 * to be told of is not kept: reads go to the store then, as if there were no cache.
 */
export class NearCache {
  readonly #copies: NearCopies;
  readonly #inFlight = new InFlight();
  readonly #touches = new Map<string, Promise<boolean>>();
  /** A write of these failed: it may yet be carried out, and then nobody tells this node. */
  readonly #unsure = new LRUCache<string, true>({ max: 10_000, ttl: UNSURE });
  readonly #tally = { hits: 0, misses: 0, shared: 0, behind: 0, invalidations: 0, flushes: 0 };
  readonly #age = { sum: 0, max: 0 };
  /** Copies of one era were all kept while changes were told. */
  #era = 0;
  /** Who tells of changes; `undefined`: nobody, and nothing is kept. */
  following: Following | undefined;
  /**
   * Told of each change that somebody else has made.
   *
   * @param isUnderWay a read is, which may be from before
   */
  onTold: ((handle: string, isUnderWay: boolean) => void) | undefined;

  constructor(private readonly options: NearCopiesOptions) {
    this.#copies = new NearCopies(options);
  }

  get figures(): NearCacheFigures {
    const { size, bytes } = this.#copies;
    const live = this.following?.isLive ?? false;
    return { ...this.#tally, servedAge: { ...this.#age }, entries: size, bytes, live };
  }

  /**
   * A session was changed, or may have been.
   *
   * @param here by this node itself
   */
  changed(handle: string, here = false): void {
    const isUnderWay = this.#inFlight.changed(handle);
    if (this.#copies.drop(handle) && !here) this.#tally.invalidations++;
    if (!here) this.onTold?.(handle, isUnderWay);
  }

  /** Sessions of a bucket were changed, and it is not known which. */
  changedIn(bucket: string): void {
    this.#copies.dropBucket(bucket);
    this.#inFlight.allChanged();
  }

  /** Anything may have been changed. */
  lost(): void {
    this.#era++;
    this.#tally.flushes++;
    this.#inFlight.allChanged();
    this.#copies.clear();
  }

  /** What was to be done beside the requests is done. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#touches.values());
  }

  /** The same store behind this cache. */
  before<Store extends SessionStore>(store: Store): Store {
    const cached: Partial<IndexedSessionStore> = {
      load: (handle, options) => this.#load(store, handle, options),
      save: (handle, value, options) => this.#save(store, handle, value, options),
      touch: (handle, ttl) => this.#touch(store, handle, ttl),
      create: (handle, ...rest) => this.#dropping([handle], store.create(handle, ...rest)),
      delete: (handle, ...rest) => this.#dropping([handle], store.delete(handle, ...rest)),
    };
    return { ...store, ...cached, ...(isIndexed(store) && this.#indexed(store)) };
  }

  #indexed(store: IndexedSessionStore): Partial<IndexedSessionStore> {
    return {
      admit: async (handle, value, options) => {
        try {
          const admission = await this.#dropping([handle], store.admit(handle, value, options));
          if (admission.status === 'created') admission.retired.forEach((one) => this.#drop(one));
          return admission;
        } catch (error) {
          // Others may have given way.
          this.changedIn(bucketOfHandle(handle));
          throw error;
        }
      },
      replace: (handle, value, options) =>
        this.#dropping([handle, options.next.handle], store.replace(handle, value, options)),
      endIn: async (bucket, ...rest) => {
        this.changedIn(bucket);
        try {
          return await store.endIn(bucket, ...rest);
        } finally {
          this.changedIn(bucket);
        }
      },
    };
  }

  #load(
    store: SessionStore,
    handle: string,
    options: LoadOptions = {},
  ): Promise<LoadedValue | undefined> {
    const { near } = options;
    if (!near) return store.load(handle, options);
    if (near.strong) return this.#read(store, handle, options);
    const copy = this.#copies.find(handle, near);
    if (!copy || copy === 'behind') return this.#miss(store, handle, options, near, copy);
    return Promise.resolve(this.#serve(store, handle, copy, options));
  }

  async #miss(
    store: SessionStore,
    handle: string,
    options: LoadOptions,
    near: NearRead,
    copy: 'behind' | undefined,
  ): Promise<LoadedValue | undefined> {
    this.#tally.misses++;
    if (copy === 'behind') this.#tally.behind++;
    // Nobody would say that what was asked for before is out of date.
    const isTold = this.following?.isLive === true;
    const shared = isTold ? this.#inFlight.shared(handle, doneBy(options)) : undefined;
    if (!shared) return this.#read(store, handle, options);
    this.#tally.shared++;
    const read = await shared.reply;
    // It was sent before this one came.
    const loaded = read && { ...read, served: true };
    const { atLeast = 0 } = near;
    const { floor } = shared;
    const isOld = loaded && isBehind({ value: loaded.value, floor }, atLeast);
    return isOld ? this.#read(store, handle, options) : loaded;
  }

  #serve(store: SessionStore, handle: string, copy: NearCopy, { touch }: LoadOptions): LoadedValue {
    const age = performance.now() - copy.at;
    this.#tally.hits++;
    this.#age.sum += age;
    if (age > this.#age.max) this.#age.max = age;
    const now = this.options.clock.now();
    const { value } = copy;
    if (touch !== undefined) {
      const moving = this.#touchBeside(store, handle, touch);
      return { value, remaining: touch, copy, served: true, moving };
    }
    return copy.until === undefined
      ? { value, copy, served: true }
      : { value, remaining: copy.until - now, copy, served: true };
  }

  /** Asks the store, and keeps what it says, if it is certain that its next change will be told. */
  async #read(
    store: SessionStore,
    handle: string,
    options: LoadOptions,
  ): Promise<LoadedValue | undefined> {
    const flight = this.#inFlight.begin(handle);
    const { touch } = options;
    const floor = options.near?.atLeast ?? 0;
    const keep = this.#attempt(handle, flight, floor);
    const asked = this.options.clock.now();
    const reply = store.load(handle, {
      touch,
      remaining: options.remaining ?? false,
      follow: true,
    });
    const read = reply.then(
      (loaded) => {
        const remaining = touch ?? loaded?.remaining;
        const until = remaining === undefined ? undefined : asked + remaining;
        const copy = loaded && keep(loaded.value, until);
        if (!loaded) this.#drop(handle);
        this.#inFlight.unshare(handle, read);
        flight.end();
        return copy ? { ...loaded, copy } : loaded;
      },
      (error: unknown) => {
        this.#inFlight.unshare(handle, read);
        flight.end();
        throw error;
      },
    );
    this.#inFlight.share(handle, { reply: read, does: doneBy(options), floor });
    return read;
  }

  async #save(
    store: SessionStore,
    handle: string,
    value: StoredValue,
    options: SaveOptions,
  ): Promise<SaveOutcome> {
    const flight = this.#inFlight.begin(handle);
    const keep = this.#attempt(handle, flight);
    const { ttl } = options;
    // What is confirmed goes over another connection, and that one's changes are told as those of others.
    const follow = !(options.confirm && store.confirms);
    const until = ttl === undefined ? this.#copies.untilOf(handle) : this.options.clock.now() + ttl;
    let kept = false;
    try {
      const outcome = await store.save(handle, value, { ...options, follow });
      kept = outcome.status === 'saved' && follow && keep(value, until) !== undefined;
      return outcome;
    } catch (error) {
      this.#unsure.set(handle, true);
      throw error;
    } finally {
      // Reads that are under way may have come before it.
      this.#inFlight.changed(handle);
      if (!kept) this.#drop(handle);
      flight.end();
    }
  }

  /** Keeps a copy, if what is sent now will be told of when it changes, and was not told of meanwhile. */
  #attempt(handle: string, flight: Flight, floor = 0) {
    const wasLive = this.following?.isLive ?? false;
    const at = performance.now();
    const era = this.#era;
    const keep = (value: StoredValue, until: number | undefined): NearCopy | undefined => {
      const isCertain = wasLive && this.following?.isLive && era === this.#era && flight.isAhead;
      if (!isCertain || this.#unsure.has(handle)) return undefined;
      return this.#copies.keep(handle, { value, at, until, floor });
    };
    return keep;
  }

  async #touch(store: SessionStore, handle: string, ttl: number): Promise<boolean> {
    const until = this.options.clock.now() + ttl;
    const isLive = this.following?.isLive ?? false;
    try {
      const found = await (store as FollowedSessionStore).touch(handle, ttl, { follow: true });
      if (found && isLive) this.#copies.extend(handle, until);
      else this.#drop(handle);
      return found;
    } catch (error) {
      // Whether it was done is not known, nor whether the next change would be told.
      this.#drop(handle);
      throw error;
    }
  }

  /** Once, however many ask for it at the same time. */
  #touchBeside(store: SessionStore, handle: string, ttl: number): Promise<boolean> {
    const known = this.#touches.get(handle);
    if (known) return known;
    const touch = this.#touch(store, handle, ttl);
    this.#touches.set(handle, touch);
    const done = () => this.#touches.delete(handle);
    touch.then(done, done);
    return touch;
  }

  async #dropping<T>(handles: readonly string[], reply: Promise<T>): Promise<T> {
    try {
      return await reply;
    } catch (error) {
      handles.forEach((handle) => this.#unsure.set(handle, true));
      throw error;
    } finally {
      handles.forEach((handle) => this.#drop(handle));
    }
  }

  #drop(handle: string): void {
    this.changed(handle, true);
  }
}

const doneBy = ({ touch, remaining = false }: LoadOptions): Done => ({
  touches: touch !== undefined,
  tells: remaining || touch !== undefined,
});
