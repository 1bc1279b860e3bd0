import { LRUCache } from 'lru-cache';
import type { Clock } from '../../core/clock.js';
import type { News } from '../../core/news.interface.js';
import { bucketOfHandle, isLasting } from '../../core/session-id.js';
import type { Place } from '../../core/session-places.js';
import type { FencedSessionStore } from '../../core/fenced-store.interface.js';
import { countOf, kindOf, LIVE, versionOf } from '../../core/session-record.js';
import type {
  Admission,
  CreateOptions,
  EndedInPlace,
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
import type { TellingSessionStore } from '../../core/store-news.interface.js';
import { MemoryNews } from './memory-news.js';
import { MemoryPlaces } from './memory-places.js';

interface Entry {
  value: StoredValue;
  endsAt: number;
  places: readonly Place[];
}

/** How the memory store is bounded. */
export interface MemoryStoreOptions {
  /** Sessions kept at most; beyond that the least recently used is dropped. @default 100000 */
  maxSessions?: number;
  /** For how long it is remembered what was told, in milliseconds. @default 600000 */
  retention?: number;
}

/**
 * Sessions in this process, for tests and development: other nodes do not see them, and they end
 * with the process.
 */
export class MemorySessionStore implements FencedSessionStore, TellingSessionStore {
  readonly #entries: LRUCache<string, Entry>;
  readonly #places = new MemoryPlaces();
  #lapsedFor = 0;
  readonly news: MemoryNews;

  constructor(
    private readonly clock: Clock,
    { maxSessions = 100_000, retention = 600_000 }: MemoryStoreOptions = {},
  ) {
    this.news = new MemoryNews(clock, retention, (handle) => this.#endOf(handle));
    this.#entries = new LRUCache({
      max: maxSessions,
      // In whatever way it goes: evicted, ended by time, deleted.
      dispose: ({ places }, handle) => this.#places.leave(handle, places),
    });
  }

  async load(handle: string, options: LoadOptions = {}): Promise<LoadedValue | undefined> {
    const entry = this.#live(handle);
    if (!entry) return undefined;
    if (options.touch !== undefined) entry.endsAt = this.clock.now() + options.touch;
    if (!options.remaining) return { value: entry.value };
    return { value: entry.value, remaining: entry.endsAt - this.clock.now() };
  }

  async create(
    handle: string,
    value: StoredValue,
    { ttl, standing, news }: CreateOptions,
  ): Promise<boolean> {
    const entry = this.#live(handle);
    if (entry) return entry.value === value;
    this.#dropSomeExpired();
    const places = standing?.places ?? [];
    this.#entries.set(handle, { value, endsAt: this.clock.now() + ttl, places });
    if (standing) this.#places.enter(handle, standing);
    this.news.changed(handle, news);
    return true;
  }

  async admit(
    handle: string,
    value: StoredValue,
    { limit, ...options }: CreateOptions & { readonly limit: PlaceLimit },
  ): Promise<Admission> {
    const entry = this.#live(handle);
    if (entry) return entry.value === value ? { status: 'created', retired: [] } : TAKEN;
    const standing = this.#standing(bucketOfHandle(handle), limit.place);
    const others = standing.filter(({ since }) => since >= 0);
    const excess = others.length - limit.max + 1;
    if (excess > 0 && limit.onLimit === 'reject') return { status: 'full' };
    if (limit.onLimit === 'retire-least-recently-used') {
      const idle = (one: string) => (isLasting(one) ? limit.lastingIdleTimeout : limit.idleTimeout);
      others.sort((a, b) => a.entry.endsAt - idle(a.handle) - (b.entry.endsAt - idle(b.handle)));
    }
    const retired = others.slice(0, Math.max(0, excess)).map((one) => one.handle);
    for (const one of retired) this.#entries.delete(one);
    this.news.ended(retired, { message: options.news?.gaveWay });
    await this.create(handle, value, options);
    return { status: 'created', retired };
  }

  async save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome> {
    const entry = this.#live(handle);
    if (!entry) return { status: 'gone' };
    const current = versionOf(entry.value);
    if (current === versionOf(value)) return { status: 'saved' };
    if (current !== options.expected) return { status: 'conflict', current: entry.value };
    entry.value = value;
    if (options.ttl !== undefined) entry.endsAt = this.clock.now() + options.ttl;
    const { standing, leaves = [] } = options;
    this.#places.leave(handle, leaves);
    entry.places = standing?.places ?? entry.places.filter((place) => !leaves.includes(place));
    if (standing) this.#places.enter(handle, standing);
    const { news } = options;
    if (news?.goesOnAs === undefined) this.news.changed(handle, news);
    else this.news.moved(handle, news);
    return { status: 'saved' };
  }

  async replace(handle: string, value: StoredValue, options: ReplaceOptions) {
    const { expected, ttl, leaves, next } = options;
    const entry = this.#live(handle);
    const isFirst = entry !== undefined && versionOf(entry.value) === expected;
    if (isFirst && this.#live(next.handle)) return TAKEN;
    // Both at once: nobody else comes in between.
    const { news } = options;
    const outcome = this.save(handle, value, { expected, ttl, leaves, news });
    if (isFirst)
      void this.create(next.handle, next.value, { ...next, news: { notice: news?.notice } });
    return outcome;
  }

  async bring(
    handle: string,
    value: StoredValue,
    ttl: number,
    { lapsed = false }: { readonly lapsed?: boolean } = {},
  ): Promise<boolean> {
    const entry = this.#live(handle) ?? (lapsed ? this.#entries.get(handle) : undefined);
    if (!entry) return false;
    const isSame = lapsed && versionOf(entry.value) === versionOf(value);
    if (!isSame && countOf(entry.value) >= countOf(value)) return false;
    const end = this.clock.now() + ttl;
    entry.value = value;
    entry.endsAt = isSame ? Math.max(entry.endsAt, end) : end;
    return true;
  }

  keepLapsed(milliseconds: number): void {
    this.#lapsedFor = Math.max(this.#lapsedFor, milliseconds);
  }

  async touch(handle: string, ttl: number): Promise<boolean> {
    const entry = this.#live(handle);
    if (!entry) return false;
    entry.endsAt = this.clock.now() + ttl;
    return true;
  }

  async delete(
    handle: string,
    _leaves?: readonly Place[],
    { news }: WriteOptions = {},
  ): Promise<StoredValue | undefined> {
    const entry = this.#live(handle);
    this.#entries.delete(handle);
    if (entry && kindOf(entry.value) === LIVE) this.news.ended([handle], news);
    return entry?.value;
  }

  async list(bucket: string, place: Place, { limit, after }: PlaceRange): Promise<PlacedValue[]> {
    const newestFirst = this.#standing(bucket, place).reverse();
    const known = newestFirst.findIndex(({ handle }) => handle === after?.handle);
    const newer = newestFirst.filter(({ since }) => after && since > after.since).length;
    const from = known < 0 ? newer : known + 1;
    return newestFirst.slice(from, from + limit).map(({ handle, since, entry }) => ({
      handle,
      since,
      head: entry.value.split('\n', 1)[0] as string,
      remaining: entry.endsAt - this.clock.now(),
    }));
  }

  async countIn(bucket: string, place: Place): Promise<number> {
    const standing = this.#standing(bucket, place);
    return standing.filter(({ entry }) => kindOf(entry.value) === LIVE).length;
  }

  async endIn(bucket: string, place: Place, except?: string, news?: News): Promise<EndedInPlace> {
    const standing = this.#standing(bucket, place).filter(({ handle }) => handle !== except);
    const live = standing.filter(({ entry }) => kindOf(entry.value) === LIVE);
    const all = this.#places.in(bucket, place).map(({ handle }) => handle);
    const handles = all.filter((one) => one !== except);
    for (const one of handles) this.#entries.delete(one);
    this.news.ended(
      live.map(({ handle }) => handle),
      news,
    );
    const values = standing.map(({ entry }) => entry.value);
    return {
      ended: live.length,
      pointers: values.filter((value) => kindOf(value) !== LIVE),
      handles,
    };
  }

  async *placesOf(index: string): AsyncGenerator<{ bucket: string; place: Place }> {
    yield* this.#places.of(index);
  }

  async count(): Promise<number> {
    let live = 0;
    for (const { value, endsAt } of this.#entries.values()) {
      if (endsAt > this.clock.now() && kindOf(value) === LIVE) live++;
    }
    return live;
  }

  async ping(): Promise<void> {}

  /** A session that was dropped to make room has ended, too. */
  #endOf(handle: string): number | undefined {
    const entry = this.#entries.peek(handle);
    const now = this.clock.now();
    return entry && entry.endsAt > now ? undefined : (entry?.endsAt ?? now);
  }

  #live(handle: string): Entry | undefined {
    const entry = this.#entries.get(handle);
    if (!entry || entry.endsAt > this.clock.now()) return entry;
    this.news.expired(handle, entry.endsAt);
    if (entry.endsAt + this.#lapsedFor <= this.clock.now()) this.#entries.delete(handle);
    return undefined;
  }

  /** What stands in a place, oldest first; what has ended drops out. */
  #standing(bucket: string, place: Place): { handle: string; since: number; entry: Entry }[] {
    return this.#places.in(bucket, place).flatMap(({ handle, since }) => {
      const entry = this.#live(handle);
      return entry ? [{ handle, since, entry }] : [];
    });
  }

  /** The least recently used are the likeliest to have ended: a few looks per new session suffice. */
  #dropSomeExpired(): void {
    let looks = 4;
    for (const handle of this.#entries.rkeys()) {
      const entry = this.#entries.peek(handle);
      if (entry && entry.endsAt <= this.clock.now()) this.#live(handle);
      if (--looks === 0) return;
    }
  }
}

const TAKEN = { status: 'taken' } as const;
