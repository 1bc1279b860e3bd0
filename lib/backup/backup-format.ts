import { isHandle } from '../core/session-id.js';
import type { Place } from '../core/session-places.js';
import { VERSION_LENGTH, type StoredValue } from '../core/session-store.interface.js';
import { damaged } from './backup.errors.js';

/*
 * A backup is
 *
 *     magic (8) · format (2) · length (4) · header JSON · SHA-256 of all that (32)
 *     frames: type (1) · length (4) · CRC-32 of type, length and number (4) · payload · digest (32)
 *     of them the last the footer; then the file ends
 *
 * The digest of a frame is the SHA-256 of the digest before it, its head and its payload: no frame can be
 * altered, left out, repeated or moved, and the last digest stands for the whole file. A payload is lines of
 * JSON, compressed if the header says so, then encrypted if the header says so. Numbers are big-endian.
 */

/** As that of PNG: whoever takes it for text or drops the eighth bit breaks it visibly. */
export const MAGIC = Buffer.from([0x89, 0x4e, 0x44, 0x53, 0x42, 0x0d, 0x0a, 0x1a]);
export const FORMAT = 1;
/** Of magic, format and length of the header. */
export const PRELUDE = MAGIC.length + 2 + 4;
export const LONGEST_HEADER = 65_536;
/** Of type, length and checksum of a frame. */
export const FRAME_HEAD = 1 + 4 + 4;
export const DIGEST = 32;

export type FrameType = 'S' | 'F';

/** What a backup says of itself, for everybody to read. */
export interface BackupHeader {
  /** Random: names the backup, and is the salt of its key. */
  readonly id: string;
  /** When it was begun, in milliseconds since the epoch, by the clock of Redis. */
  readonly takenAt: number;
  /** First part of every key, where the sessions were. */
  readonly prefix: string;
  /** Version of the library that wrote it. */
  readonly library: string;
  readonly compressed: boolean;
  /** Proves a key; absent: it is not encrypted. */
  readonly keyProof?: string | undefined;
}

/** What a backup says at its end. */
export interface BackupFooter {
  readonly entries: number;
  /** Of them, sessions; the rest are pointers, which ids leave behind that were renewed. */
  readonly sessions: number;
  /** When it was done, by the clock of Redis. */
  readonly finishedAt: number;
  /** When the last of them ends. */
  readonly lastEnd: number;
}

/** One session, or what is left of an id that was renewed. */
export interface BackupEntry {
  readonly handle: string;
  readonly value: StoredValue;
  /** When its idle window ends, in milliseconds since the epoch, by the clock of Redis. */
  readonly end: number;
  /** Where it stands in indexes; see `Standing`. */
  readonly places: readonly Place[];
  readonly since: number;
  /** Until when its places stay. */
  readonly placesEnd: number;
  /** What is to be told of its end; absent: nobody waits for that. */
  readonly notice?: string | undefined;
}

type Line = [
  handle: string,
  value: string,
  end: number,
  places: readonly string[],
  since: number,
  placesEnd: number,
  notice?: string,
];

export function encodeEntry(entry: BackupEntry): string {
  const { handle, value, end, places, since, placesEnd, notice } = entry;
  const line: Line = [handle, value, end, places, since, placesEnd];
  if (notice !== undefined) line.push(notice);
  return JSON.stringify(line);
}

const PLACE = /^(?:[a-z]|i\.[^\n]{1,200}):[\w-]{1,64}$/;

/** Whether an entry can be restored: what is not is neither written nor taken when it is read. */
export function isWhole(entry: { readonly [K in keyof BackupEntry]?: unknown }): boolean {
  const { handle, value, end, places, since, placesEnd, notice } = entry;
  return (
    typeof handle === 'string' &&
    isHandle(handle) &&
    typeof value === 'string' &&
    value.length > VERSION_LENGTH &&
    [end, since, placesEnd].every(Number.isFinite) &&
    Array.isArray(places) &&
    places.every((one) => typeof one === 'string' && PLACE.test(one)) &&
    (notice === undefined || (typeof notice === 'string' && !notice.includes('\n')))
  );
}

/** @throws SessionBackupError (`SESSION_BACKUP_DAMAGED`) */
export function decodeEntry(text: string): BackupEntry {
  const line = parsed(text, 'a session') as Partial<Line>;
  const [handle, value, end, places, since, placesEnd, notice] = Array.isArray(line) ? line : [];
  const entry = { handle, value, end, places, since, placesEnd, notice };
  if (!isWhole(entry)) throw damaged('a session');
  return entry as BackupEntry;
}

/** @throws SessionBackupError (`SESSION_BACKUP_DAMAGED`) */
export function decodeHeader(text: string): BackupHeader {
  const header = parsed(text, 'its header') as BackupHeader;
  const { id, takenAt, prefix, library, compressed, keyProof } = header;
  const fits =
    [id, prefix, library].every((one) => typeof one === 'string') &&
    Number.isFinite(takenAt) &&
    typeof compressed === 'boolean' &&
    ['undefined', 'string'].includes(typeof keyProof);
  if (!fits) throw damaged('its header');
  return { id, takenAt, prefix, library, compressed, keyProof };
}

/** @throws SessionBackupError (`SESSION_BACKUP_DAMAGED`) */
export function decodeFooter(text: string): BackupFooter {
  const { entries, sessions, finishedAt, lastEnd } = parsed(text, 'its end') as BackupFooter;
  if (![entries, sessions, finishedAt, lastEnd].every(Number.isFinite)) throw damaged('its end');
  return { entries, sessions, finishedAt, lastEnd };
}

function parsed(text: string, where: string): object {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch {
    // The message of a parser quotes what it was given.
  }
  throw damaged(where);
}
