import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { inflateRaw } from 'node:zlib';
import {
  decodeEntry,
  decodeFooter,
  decodeHeader,
  DIGEST,
  FORMAT,
  FRAME_HEAD,
  LONGEST_HEADER,
  MAGIC,
  PRELUDE,
  type BackupEntry,
  type BackupFooter,
  type BackupHeader,
  type FrameType,
} from './backup-format.js';
import { BackupKey } from './backup-key.js';
import { damaged, foreign, otherFormat, wrongKey } from './backup.errors.js';
import { contextOf, digestOf, headOf } from './backup-writer.js';
import { ByteSource } from './byte-source.js';

const decompress = promisify<Buffer, object, Buffer>(inflateRaw);
/** What a frame may become: a string holds no more. */
const INFLATED = { maxOutputLength: 2 ** 29 };

/** Reads a backup. What it hands on is whole and in its place; whether the rest is, its end tells. */
export class BackupReader {
  #digest: Buffer;
  #frames = 0;
  #footer: BackupFooter | undefined;

  private constructor(
    private readonly source: ByteSource,
    readonly header: BackupHeader,
    readonly key: BackupKey | undefined,
    private readonly headerDigest: Buffer,
  ) {
    this.#digest = headerDigest;
  }

  /**
   * @param secret the key, or what it is made of; absent: the backup is not encrypted
   * @throws SessionBackupError if it is no backup, in another format, damaged, or the key does not fit
   */
  static async open(
    bytes: AsyncIterable<Buffer>,
    secret?: string | BackupKey,
  ): Promise<BackupReader> {
    const source = new ByteSource(bytes);
    const prelude = await source.take(PRELUDE);
    if (!prelude?.subarray(0, MAGIC.length).equals(MAGIC)) throw foreign();
    const format = prelude.readUInt16BE(MAGIC.length);
    if (format !== FORMAT) throw otherFormat(format);
    const length = prelude.readUInt32BE(MAGIC.length + 2);
    const text = length <= LONGEST_HEADER ? await source.take(length) : undefined;
    const digest = text && (await source.take(DIGEST));
    const own = createHash('sha256').update(prelude);
    if (!digest?.equals(own.update(text ?? '').digest())) throw damaged('its header');
    const header = decodeHeader((text as Buffer).toString());
    return new BackupReader(source, header, await keyFor(header, secret), digest);
  }

  /** Says what there was, once all entries were read; before that, fails. */
  get footer(): BackupFooter {
    if (this.#footer) return this.#footer;
    throw damaged('its end is missing');
  }

  /** Stands for all that was read. */
  get digest(): string {
    return this.#digest.toString('hex');
  }

  /** Bytes that were read. */
  get position(): number {
    return this.source.position;
  }

  /** A frame's entries at once. @throws SessionBackupError (`SESSION_BACKUP_DAMAGED`) */
  async *frames(): AsyncGenerator<BackupEntry[]> {
    let entries = 0;
    for (;;) {
      const { type, text } = await this.#frame();
      if (type === 'F') {
        this.#footer = decodeFooter(text);
        if (this.#footer.entries !== entries) throw damaged('its count is another');
        if (await this.source.take(1)) throw damaged('something follows its end');
        return;
      }
      const page = text.split('\n').map(decodeEntry);
      entries += page.length;
      yield page;
    }
  }

  async #frame(): Promise<{ type: FrameType; text: string }> {
    const number = this.#frames++;
    const head = await this.source.take(FRAME_HEAD);
    if (!head) throw damaged('it is cut off');
    const type = head.toString('latin1', 0, 1) as FrameType;
    const length = head.readUInt32BE(1);
    if (!/^[SF]$/.test(type) || !headOf(type, length, number).equals(head)) {
      throw damaged(`part ${number + 1}`);
    }
    const payload = await this.source.take(length);
    const digest = payload && (await this.source.take(DIGEST));
    if (!payload || !digest) throw damaged('it is cut off');
    this.#digest = digestOf(this.#digest, head, payload);
    if (!digest.equals(this.#digest)) throw damaged(`part ${number + 1}`);
    const context = contextOf(this.headerDigest, type, number);
    const packed = this.key ? this.key.open(payload, number, context) : payload;
    return { type, text: (await this.#unpacked(packed)).toString() };
  }

  async #unpacked(packed: Buffer): Promise<Buffer> {
    if (!this.header.compressed) return packed;
    try {
      return await decompress(packed, INFLATED);
    } catch {
      throw damaged('a compressed part');
    }
  }
}

async function keyFor(
  header: BackupHeader,
  secret?: string | BackupKey,
): Promise<BackupKey | undefined> {
  const { id, keyProof } = header;
  if (keyProof === undefined) {
    // Somebody may have put another one in its place.
    if (secret !== undefined) throw wrongKey('The backup is not encrypted: leave the key out.');
    return undefined;
  }
  if (secret === undefined) {
    throw wrongKey('The backup is encrypted: give the key that it was made with.');
  }
  const key = typeof secret === 'string' ? await BackupKey.from(secret, id) : secret;
  if (!key.isProvenBy(keyProof)) {
    throw wrongKey(
      'The backup was encrypted with another key: give the key that it was made with.',
    );
  }
  return key;
}
