import type { RedisClient } from '../stores/redis/redis-client.js';
import { RedisSessionStore } from '../stores/redis/redis-session.store.js';
import type { BackupEntry, BackupFooter, BackupHeader } from './backup-format.js';
import { BackupReader } from './backup-reader.js';
import { exchanged } from './backup.errors.js';
import type { BackupProgress } from './backup-sessions.js';
import { EntryRestorer, NOTHING_RESTORED, type Restored } from './entry-restorer.js';
import { RedisRoom } from './redis-room.js';
import { COMPLETE, decide, refuseOld, type Decision } from './restore-decision.js';
import { RestoreFilter, type Unmatched } from './restore-filter.js';
import { ToldEnds } from './told-ends.js';

/** Gives the bytes of a backup, from their beginning, each time it is asked: it is read twice. */
export type BackupSource = () => AsyncIterable<Buffer>;

/** How to restore. */
export interface RestoreOptions {
  /** First part of every key. @default as it was where the backup was made */
  readonly keyPrefix?: string | undefined;
  /** What the backup was encrypted with. */
  readonly secret?: string | undefined;
  /** Refuses a backup that was begun longer ago, in milliseconds. @default 86400000, a day */
  readonly maxAge?: number;
  /**
   * Sessions were used after the backup, and it does not know: their idle windows end later than it says by as
   * long as it is old, but at most by this, in milliseconds. Absolute ends stay. @default 0
   */
  readonly extendIdle?: number;
  /** Principals whose sessions stay ended. @default none */
  readonly exceptPrincipals?: Iterable<string>;
  /** Handles of sessions that stay ended. @default none */
  readonly exceptHandles?: Iterable<string>;
  /** Restores what is absent, although there are sessions which this backup did not bring. @default false */
  readonly merge?: boolean;
  /** Restores once more what was restored already. @default false */
  readonly again?: boolean;
  /** Only says what would be done. @default false */
  readonly dryRun?: boolean;
  /**
   * Milliseconds for which slots of a Cluster may be on their way to other masters, until it is given up.
   * @default 30000
   */
  readonly moveTimeout?: number | undefined;
  /** Told now and then: of bytes while the file is verified, of entries while it is restored. */
  readonly onProgress?: (progress: BackupProgress & { readonly phase: RestorePhase }) => void;
  /** Gives it up; it can be gone on with. */
  readonly signal?: AbortSignal | undefined;
}

export type RestorePhase = 'verify' | 'restore';

/** What a restore has done, or would do. */
export interface RestoreReport extends Restored {
  /** The backup, and when it was begun, in milliseconds since the epoch. */
  readonly id: string;
  readonly takenAt: number;
  /** Stands for the whole file. */
  readonly digest: string;
  /** Entries of the backup: sessions, and what ids left behind that were renewed. */
  readonly entries: number;
  /** Entries that an earlier run has dealt with already. */
  readonly before: number;
  /** How many of the handles and principals that are to be left out are not in the backup. */
  readonly unmatched: Unmatched;
}

/** Entries after which it is remembered how far it has come. */
const PAGE = 200;

/**
 * Puts the sessions of a backup into a Redis, each with its place in every index, and the time that it had left.
 * The whole file is verified before anything is written. What is there is never overwritten. What ended
 * meanwhile by time, or was ended as far as the store tells, stays ended, also if that happens while it is
 * restored; see docs/disaster-recovery.md for what cannot be known.
 *
 * It remembers how far it has come: run again after an interruption it goes on there, and run again after
 * its end it does nothing, so that nobody who has logged out in between comes back.
 *
 * @throws SessionBackupError if the backup cannot be used, or not here; SessionStoreUnavailableError
 * (`SESSION_STORE_UNAVAILABLE`)
 * @example await restoreSessions(redis, () => createReadStream('sessions.backup'), { secret });
 */
export async function restoreSessions(
  client: RedisClient,
  source: BackupSource,
  options: RestoreOptions = {},
): Promise<RestoreReport> {
  const verified = await verify(source, options);
  const { header, footer } = verified;
  const keyPrefix = options.keyPrefix ?? header.prefix;
  const room = new RedisRoom(client, keyPrefix, options);
  refuseOld(header, await room.now(), options.maxAge);
  const decision = await decide(room, header, options);
  const restored = decision.isComplete
    ? { ...NOTHING_RESTORED, unmatched: new RestoreFilter({}).unmatched }
    : await restore(room, new RedisSessionStore(client, { keyPrefix }, room.calls), {
        source,
        verified,
        decision,
        options,
      });
  const { id, takenAt } = header;
  const before = decision.isComplete ? footer.entries : decision.done;
  return { ...restored, id, takenAt, digest: verified.digest, entries: footer.entries, before };
}

interface Verified {
  readonly header: BackupHeader;
  readonly footer: BackupFooter;
  readonly digest: string;
  readonly key: BackupReader['key'];
}

/** Reads all of it, and writes nothing. */
async function verify(
  source: BackupSource,
  { secret, onProgress, signal }: RestoreOptions,
): Promise<Verified> {
  const reader = await BackupReader.open(source(), secret);
  for await (const _ of reader.frames()) {
    signal?.throwIfAborted();
    onProgress?.({ phase: 'verify', done: reader.position, total: 0 });
  }
  const { header, footer, digest, key } = reader;
  return { header, footer, digest, key };
}

interface Restoring {
  readonly source: BackupSource;
  readonly verified: Verified;
  readonly decision: Decision;
  readonly options: RestoreOptions;
}

async function restore(
  room: RedisRoom,
  store: RedisSessionStore,
  { source, verified, decision, options }: Restoring,
): Promise<Restored & Pick<RestoreReport, 'unmatched'>> {
  const { header, footer, digest } = verified;
  const { dryRun = false, extendIdle = 0, onProgress, signal } = options;
  const filter = new RestoreFilter(options);
  const ends = new ToldEnds(store.news);
  await ends.catchUp();
  const restorer = new EntryRestorer(room, store, { filter, ends, dryRun, extendIdle, header });
  // As long as the last of them could live: after that nothing can come back.
  const remember = async (text: string) => {
    const ttl = Math.max(1, footer.lastEnd + extendIdle - (await room.now()));
    if (!dryRun) await room.setMark(header.id, text, ttl);
  };
  await remember(String(decision.done));
  const reader = await BackupReader.open(source(), verified.key);
  let done = 0;
  for await (const page of pagesOf(reader)) {
    signal?.throwIfAborted();
    const skipped = Math.max(0, decision.done - done);
    done += page.length;
    await restorer.check(page.slice(0, skipped));
    if (skipped < page.length) {
      await restorer.restore(page.slice(skipped));
      await remember(String(done));
    }
    onProgress?.({ phase: 'restore', done, total: footer.entries });
  }
  // Somebody has put another file there since it was verified.
  if (reader.digest !== digest) throw exchanged();
  await restorer.finish();
  await remember(COMPLETE);
  return { ...restorer.restored, unmatched: filter.unmatched };
}

async function* pagesOf(reader: BackupReader): AsyncGenerator<BackupEntry[]> {
  for await (const frame of reader.frames()) {
    for (let at = 0; at < frame.length; at += PAGE) yield frame.slice(at, at + PAGE);
  }
}
