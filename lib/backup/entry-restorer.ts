import type { RedisSessionStore } from '../stores/redis/redis-session.store.js';
import { BUCKETS, bucketOfHandle } from '../core/session-id.js';
import type { Place } from '../core/session-places.js';
import { kindOf, LIVE } from '../core/session-record.js';
import type { BackupEntry, BackupHeader } from './backup-format.js';
import { HandleFilter } from './handle-filter.js';
import type { RedisRoom } from './redis-room.js';
import type { RestoreFilter } from './restore-filter.js';
import { onceSettled } from './settled-walk.js';
import type { ToldEnds } from './told-ends.js';

/** What became of the entries of a backup. */
export interface Restored {
  /** Sessions that are there again; in a dry run, that would be. */
  readonly sessions: number;
  /** What ids left behind that were renewed. */
  readonly pointers: number;
  /** Ended by time meanwhile. */
  readonly expired: number;
  /** Ended by somebody, as the store tells. */
  readonly revoked: number;
  /** Left out because that was asked for. */
  readonly excepted: number;
  /** There already, as it was or newer: nothing was overwritten. */
  readonly present: number;
}

export const NOTHING_RESTORED: Restored = Object.freeze({
  sessions: 0,
  pointers: 0,
  expired: 0,
  revoked: 0,
  excepted: 0,
  present: 0,
});

interface EntryRestorerOptions {
  readonly filter: RestoreFilter;
  readonly ends: ToldEnds;
  readonly header: BackupHeader;
  readonly dryRun: boolean;
  /** In milliseconds. */
  readonly extendIdle: number;
}

/** Milliseconds after which all buckets are heard, and not only those that are being restored. */
const HEAR_ALL_EVERY = 1_000;

/**
 * Restores entries, some at once; each by the verb by which it once began to exist. Whoever logs out meanwhile
 * stays so: what ended while it was restored is ended again.
 */
export class EntryRestorer {
  readonly #counts = { ...NOTHING_RESTORED } as { -readonly [K in keyof Restored]: number };
  readonly #created = new HandleFilter();
  #heardAll = performance.now();

  constructor(
    private readonly room: RedisRoom,
    private readonly store: RedisSessionStore,
    private readonly options: EntryRestorerOptions,
  ) {}

  get restored(): Restored {
    return { ...this.#counts };
  }

  async restore(entries: readonly BackupEntry[]): Promise<void> {
    const buckets = [...new Set(entries.map(({ handle }) => bucketOfHandle(handle)))];
    await this.#catchUp(buckets);
    const now = await this.room.now();
    const fates = await Promise.all(entries.map((entry) => this.#restore(entry, now)));
    for (const fate of fates) this.#counts[fate]++;
    // It was looked at first, and created then: in between it may have ended.
    await this.#catchUp(buckets);
  }

  /** What an earlier run has created, and then could not look at any more. */
  async check(entries: readonly BackupEntry[]): Promise<void> {
    for (const entry of entries) {
      this.options.filter.excepts(entry);
      if (this.options.ends.has(entry.handle)) await this.#endAgain(entry.handle, entry.places);
    }
  }

  /** To be called after the last entry. */
  async finish(): Promise<void> {
    await this.#catchUp(BUCKETS);
  }

  async #restore(entry: BackupEntry, now: number): Promise<keyof Restored> {
    const { handle, value, places, since, placesEnd, notice } = entry;
    const { filter, ends, dryRun } = this.options;
    const isExcepted = filter.excepts(entry);
    const ttl = this.#endOf(entry, now) - now;
    if (ttl <= 0) return 'expired';
    if (ends.has(handle)) {
      await this.#endAgain(handle, places);
      return 'revoked';
    }
    if (isExcepted) return 'excepted';
    if (await this.room.has(handle)) return 'present';
    const kind = kindOf(value) === LIVE ? 'sessions' : 'pointers';
    if (dryRun) return kind;
    const standing = places.length > 0 && { places, since, life: Math.max(ttl, placesEnd - now) };
    const news = notice === undefined ? undefined : { notice };
    const options = { ttl, news, ...(standing && { standing }) };
    const isCreated = await onceSettled(this.room, bucketOfHandle(handle), () =>
      this.store.create(handle, value, options),
    );
    if (!isCreated) return 'present';
    if (kind === 'sessions') this.#created.add(handle);
    return kind;
  }

  /** What was created here, and is told to have ended since it was heard the last time. */
  async #catchUp(buckets: readonly string[]): Promise<void> {
    const isTimeForAll = performance.now() - this.#heardAll > HEAR_ALL_EVERY;
    if (isTimeForAll) this.#heardAll = performance.now();
    const ended = await this.options.ends.catchUp(isTimeForAll ? BUCKETS : buckets);
    for (const handle of ended) {
      if (!this.#created.has(handle) || !(await this.#endAgain(handle))) continue;
      this.#counts.sessions--;
      this.#counts.revoked++;
    }
  }

  /**
   * Nothing that lives under a handle that has ended is right. What leads from there to a successor is, and stays.
   *
   * @returns whether a session was ended
   */
  async #endAgain(handle: string, places: readonly Place[] = []): Promise<boolean> {
    if (this.options.dryRun || !(await this.room.holdsSession(handle))) return false;
    // It tells nothing: its end was told.
    const value = await onceSettled(this.room, bucketOfHandle(handle), () =>
      this.store.delete(handle, places, { news: {} }),
    );
    return value !== undefined;
  }

  /** Nobody knows who used their session after the backup: for as long as that is, at most, they may have. */
  #endOf({ value, end }: BackupEntry, now: number): number {
    if (kindOf(value) !== LIVE) return end;
    const { extendIdle, header } = this.options;
    return end + Math.min(extendIdle, Math.max(0, now - header.takenAt));
  }
}
