import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { kindOf, LIVE } from '../core/session-record.js';
import type { RedisClient } from '../stores/redis/redis-client.js';
import type { BackupHeader } from './backup-format.js';
import { BackupKey } from './backup-key.js';
import { BackupWriter } from './backup-writer.js';
import { BucketDump } from './bucket-dump.js';
import { RedisRoom, type BucketGlob } from './redis-room.js';

/** How far something is. */
export interface BackupProgress {
  readonly done: number;
  /** As far as that is known by now. */
  readonly total: number;
}

/** How to back up. */
export interface BackupOptions {
  /** First part of every key, as `keyPrefix` of the application. @default 'sess' */
  readonly keyPrefix?: string;
  /** Encrypts the backup; at least 32 characters. @default it is not encrypted */
  readonly secret?: string | undefined;
  /** Costs a little of the processor, and saves most of the room where sessions are not encrypted. @default true */
  readonly compress?: boolean;
  /** Told now and then. */
  readonly onProgress?: ((progress: BackupProgress) => void) | undefined;
  /**
   * Milliseconds for which slots of a Cluster may be on their way to other masters, until it is given up.
   * @default 30000
   */
  readonly moveTimeout?: number | undefined;
  /** Gives it up: what was written so far is no backup. */
  readonly signal?: AbortSignal | undefined;
}

/** What a backup holds. */
export interface BackupReport {
  /** Random: names it. */
  readonly id: string;
  /** When it was begun and done, in milliseconds since the epoch, by the clock of Redis. */
  readonly takenAt: number;
  readonly finishedAt: number;
  readonly sessions: number;
  /** What ids left behind that were renewed. */
  readonly pointers: number;
  /** Records that nobody can read: damaged, of another type, without an end, or in a format of a newer version. */
  readonly leftOut: number;
  /** Stands for the whole file. */
  readonly digest: string;
}

/** Keys of sessions whose names are held in memory: for each part of as many the key space is walked twice. */
const KEYS_OF_PART = 400_000;
/** Clocks of nodes may differ by so many milliseconds; see `BucketDump`. */
const CLOCKS_DIFFER = 60_000;
/** Ids that are renewed while those are looked for that were renewed while … */
const ROUNDS = 5;

/**
 * Writes all sessions of a Redis into a stream, while applications use them. What changes meanwhile is taken as
 * it is before or after, whole, with its place in every index. What nobody can read is left out, and counted. Nothing has to be decrypted for it. Memory is
 * bounded: a part of the key space is held by name, some hundred sessions with their contents.
 *
 * @param client over which to read: every master of a Cluster, never a replica
 * @param to takes the bytes; it is not ended
 * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`), SessionBackupError (`SESSION_BACKUP_KEY`,
 * `SESSION_BACKUP_MOVING`, `SESSION_BACKUP_UNWRITABLE`)
 * @example await backupSessions(redis, createWriteStream('sessions.backup', { mode: 0o600 }), { secret });
 */
export async function backupSessions(
  client: RedisClient,
  to: Writable,
  options: BackupOptions = {},
): Promise<BackupReport> {
  const { keyPrefix = 'sess', secret, compress = true, moveTimeout, onProgress, signal } = options;
  const room = new RedisRoom(client, keyPrefix, { moveTimeout, signal });
  const id = randomBytes(16).toString('base64url');
  const key = secret === undefined ? undefined : await BackupKey.from(secret, id);
  const takenAt = await room.now();
  const header: BackupHeader = {
    id,
    takenAt,
    prefix: keyPrefix,
    library: libraryVersion(),
    compressed: compress,
    keyProof: key?.proof,
  };
  const ignore = () => undefined;
  // What goes wrong there is what the next write fails with.
  to.on('error', ignore);
  try {
    const writer = await BackupWriter.begin(to, header, { key, signal });
    const { sessions, lastEnd, leftOut } = await writeAll(room, writer, {
      takenAt,
      onProgress,
      signal,
    });
    const { entries } = writer;
    const finishedAt = await room.now();
    const digest = await writer.end({ entries, sessions, finishedAt, lastEnd });
    const pointers = entries - sessions;
    return { id, takenAt, finishedAt, sessions, pointers, leftOut, digest };
  } finally {
    to.off('error', ignore);
  }
}

interface Writing extends Pick<BackupOptions, 'onProgress' | 'signal'> {
  readonly takenAt: number;
}

async function writeAll(room: RedisRoom, writer: BackupWriter, writing: Writing) {
  const { takenAt, onProgress, signal } = writing;
  const dump = new BucketDump(room, takenAt - CLOCKS_DIFFER);
  let sessions = 0;
  let lastEnd = takenAt;
  let total = 0;
  const write = async (entries: ReturnType<BucketDump['all']>) => {
    for await (const entry of entries) {
      await writer.add(entry);
      if (kindOf(entry.value) === LIVE) sessions++;
      lastEnd = Math.max(lastEnd, entry.end);
      if (writer.entries % 100 === 0) onProgress?.({ done: writer.entries, total });
    }
    onProgress?.({ done: writer.entries, total: Math.max(total, writer.entries) });
  };
  const parts = partsOf(await room.size(KEYS_OF_PART));
  for (const [i, buckets] of parts.entries()) {
    // Buckets are of like size: the others hold about as many.
    const onFound = (count: number) => {
      total = writer.entries + count * (parts.length - i);
    };
    await write(dump.all(buckets, { onFound, signal }));
  }
  let successors = dump.takeSuccessors();
  for (let round = 0; round < ROUNDS && successors.size > 0; round++) {
    await write(dump.some(successors, { signal }));
    successors = dump.takeSuccessors();
  }
  return { sessions, lastEnd, leftOut: dump.leftOut };
}

/** Globs that together stand for all buckets: some of the first digits of their names, or of the second ones. */
function partsOf(keys: number): readonly BucketGlob[] {
  if (keys <= KEYS_OF_PART) return ['??'];
  const parts = [2, 4, 8, 16, 32, 64, 128].find((count) => keys <= count * KEYS_OF_PART) ?? 256;
  if (parts <= DIGITS.length) return digitsIn(parts).map((digits) => `[${digits}]?`);
  const seconds = digitsIn(parts / DIGITS.length);
  return DIGITS.flatMap((first) => seconds.map((digits) => `${first}[${digits}]`));
}

const DIGITS = Array.from('0123456789abcdef');

/** All digits, in so many parts. */
function digitsIn(parts: number): string[] {
  const size = DIGITS.length / parts;
  return Array.from({ length: parts }, (_, i) => DIGITS.slice(i * size, (i + 1) * size).join(''));
}

function libraryVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
