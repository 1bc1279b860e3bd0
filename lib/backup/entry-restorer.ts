import type { RedisSessionStore } from '../stores/redis/redis-session.store.js';
import { kindOf, LIVE } from '../core/session-record.js';
import type { BackupEntry, BackupHeader } from './backup-format.js';
import type { RedisRoom } from './redis-room.js';
import type { RestoreFilter } from './restore-filter.js';

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
  readonly header: BackupHeader;
  readonly dryRun: boolean;
  /** In milliseconds. */
  readonly extendIdle: number;
}

/** Restores entries, some at once; each by the verb by which it once began to exist. */
export class EntryRestorer {
  readonly #counts = { ...NOTHING_RESTORED } as { -readonly [K in keyof Restored]: number };

  constructor(
    private readonly room: RedisRoom,
    private readonly store: RedisSessionStore,
    private readonly options: EntryRestorerOptions,
  ) {}

  get restored(): Restored {
    return { ...this.#counts };
  }

  async restore(entries: readonly BackupEntry[]): Promise<void> {
    const now = await this.room.now();
    const fates = await Promise.all(entries.map((entry) => this.#restore(entry, now)));
    for (const fate of fates) this.#counts[fate]++;
  }

  async #restore(entry: BackupEntry, now: number): Promise<keyof Restored> {
    const { handle, value, places, since, placesEnd, notice } = entry;
    const ttl = this.#endOf(entry, now) - now;
    if (ttl <= 0) return 'expired';
    const reason = this.options.filter.reasonAgainst(entry);
    if (reason) return reason;
    if (await this.room.has(handle)) return 'present';
    const kind = kindOf(value) === LIVE ? 'sessions' : 'pointers';
    if (this.options.dryRun) return kind;
    const standing = places.length > 0 && { places, since, life: Math.max(ttl, placesEnd - now) };
    const news = notice === undefined ? undefined : { notice };
    const options = { ttl, news, ...(standing && { standing }) };
    return (await this.store.create(handle, value, options)) ? kind : 'present';
  }

  /** Nobody knows who used their session after the backup: for as long as that is, at most, they may have. */
  #endOf({ value, end }: BackupEntry, now: number): number {
    if (kindOf(value) !== LIVE) return end;
    const { extendIdle, header } = this.options;
    return end + Math.min(extendIdle, Math.max(0, now - header.takenAt));
  }
}
