import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { constants, crc32, deflateRaw } from 'node:zlib';
import {
  encodeEntry,
  FORMAT,
  FRAME_HEAD,
  MAGIC,
  PRELUDE,
  type BackupEntry,
  type BackupFooter,
  type BackupHeader,
  type FrameType,
} from './backup-format.js';
import type { BackupKey } from './backup-key.js';
import { closed } from './backup.errors.js';

const compress = promisify<Buffer, object, Buffer>(deflateRaw);
/** Handles and what is encrypted are random: more effort finds nothing in them. */
const EFFORT = { level: constants.Z_BEST_SPEED };
/** Characters of entries that make a frame: what is lost from sight if one is damaged, and held in memory. */
const FRAME = 262_144;

interface BackupWriterOptions {
  /** Absent: it is not encrypted. */
  readonly key?: BackupKey | undefined;
  /** Ends the waiting for who takes it. */
  readonly signal?: AbortSignal | undefined;
}

/** Writes a backup: header, frames, footer; never faster than it is taken. */
export class BackupWriter {
  #lines: string[] = [];
  #length = 0;
  #frames = 0;
  #entries = 0;
  #digest: Buffer;

  private constructor(
    private readonly to: Writable,
    private readonly header: BackupHeader,
    private readonly options: BackupWriterOptions,
    private readonly headerDigest: Buffer,
  ) {
    this.#digest = headerDigest;
  }

  static async begin(
    to: Writable,
    header: BackupHeader,
    options: BackupWriterOptions = {},
  ): Promise<BackupWriter> {
    const text = Buffer.from(JSON.stringify(header));
    const prelude = Buffer.alloc(PRELUDE);
    MAGIC.copy(prelude);
    prelude.writeUInt16BE(FORMAT, MAGIC.length);
    prelude.writeUInt32BE(text.length, MAGIC.length + 2);
    const digest = createHash('sha256').update(prelude).update(text).digest();
    await write(to, Buffer.concat([prelude, text, digest]), options);
    return new BackupWriter(to, header, options, digest);
  }

  /** Entries that were added. */
  get entries(): number {
    return this.#entries;
  }

  async add(entry: BackupEntry): Promise<void> {
    const line = encodeEntry(entry);
    this.#lines.push(line);
    this.#length += line.length;
    this.#entries++;
    if (this.#length >= FRAME) await this.#flush();
  }

  /** @returns the digest that stands for the whole backup */
  async end(footer: BackupFooter): Promise<string> {
    await this.#flush();
    await this.#frame('F', Buffer.from(JSON.stringify(footer)));
    return this.#digest.toString('hex');
  }

  async #flush(): Promise<void> {
    if (this.#lines.length === 0) return;
    const text = Buffer.from(this.#lines.join('\n'));
    this.#lines = [];
    this.#length = 0;
    await this.#frame('S', text);
  }

  async #frame(type: FrameType, text: Buffer): Promise<void> {
    const number = this.#frames++;
    const packed = this.header.compressed ? await compress(text, EFFORT) : text;
    const context = contextOf(this.headerDigest, type, number);
    const { key } = this.options;
    const payload = key ? key.seal(packed, number, context) : packed;
    const head = headOf(type, payload.length, number);
    this.#digest = digestOf(this.#digest, head, payload);
    await write(this.to, Buffer.concat([head, payload, this.#digest]), this.options);
  }
}

export function headOf(type: FrameType, length: number, number: number): Buffer {
  const head = Buffer.alloc(FRAME_HEAD);
  head.write(type, 'latin1');
  head.writeUInt32BE(length, 1);
  head.writeUInt32BE(crc32(head.subarray(0, 5), number), 5);
  return head;
}

export const digestOf = (before: Buffer, head: Buffer, payload: Buffer): Buffer =>
  createHash('sha256').update(before).update(head).update(payload).digest();

/** What a sealed frame is part of, what it is and where it stands. */
export const contextOf = (headerDigest: Buffer, type: FrameType, number: number): Buffer =>
  Buffer.concat([headerDigest, Buffer.from(`${type}${number}`)]);

/**
 * Waits while the other side has not taken what it was given; fails with what it fails with, and if it is closed
 * before all was written.
 */
async function write(to: Writable, bytes: Buffer, { signal }: BackupWriterOptions): Promise<void> {
  if (to.errored) throw to.errored;
  if (to.destroyed || to.writableEnded) throw closed();
  if (to.write(bytes)) return;
  const waiting = new AbortController();
  const until = { signal: AbortSignal.any([waiting.signal, ...(signal ? [signal] : [])]) };
  try {
    await Promise.race([once(to, 'drain', until), once(to, 'close', until)]);
  } finally {
    waiting.abort();
  }
  if (to.destroyed) throw to.errored ?? closed();
}
