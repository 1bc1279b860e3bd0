import { Writable } from 'node:stream';
import { BackupKey } from '../../lib/backup/backup-key.js';
import { BackupReader } from '../../lib/backup/backup-reader.js';
import { BackupWriter } from '../../lib/backup/backup-writer.js';
import type { BackupEntry, BackupHeader } from '../../lib/backup/backup-format.js';

/** Keeps what is written. */
export class Sink extends Writable {
  readonly #chunks: Buffer[] = [];

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.#chunks.push(chunk);
    done();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

/** Bytes in pieces of a size that no boundary of the format has. */
export async function* inPieces(bytes: Buffer, size = 1_013): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export const HEADER: BackupHeader = {
  id: 'AAAAAAAAAAAAAAAAAAAAAA',
  takenAt: 1_700_000_000_000,
  prefix: 'sess',
  library: '0.1.0',
  compressed: true,
};

/** A whole backup of these entries. */
export async function written(
  entries: readonly BackupEntry[],
  {
    secret,
    compressed = true,
    takenAt = HEADER.takenAt,
  }: { secret?: string; compressed?: boolean; takenAt?: number } = {},
): Promise<Buffer> {
  const sink = new Sink();
  const key = secret === undefined ? undefined : await BackupKey.from(secret, HEADER.id);
  const header = { ...HEADER, compressed, takenAt, keyProof: key?.proof };
  const writer = await BackupWriter.begin(sink, header, { key });
  for (const entry of entries) await writer.add(entry);
  const { length } = entries;
  await writer.end({
    entries: length,
    sessions: length,
    finishedAt: takenAt,
    lastEnd: takenAt + 3_600_000,
  });
  return sink.bytes;
}

/** All entries of a backup. */
export async function read(bytes: Buffer, secret?: string | BackupKey): Promise<BackupEntry[]> {
  const reader = await BackupReader.open(inPieces(bytes), secret);
  const entries: BackupEntry[] = [];
  for await (const page of reader.frames()) entries.push(...page);
  expectFooter(reader, entries.length);
  return entries;
}

function expectFooter({ footer }: BackupReader, entries: number): void {
  if (footer.entries !== entries) throw new Error('the footer counts others');
}
