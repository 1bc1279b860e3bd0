import type { RecordSealer } from './record-sealer.interface.js';
import type { EncodedContents } from './session-changes.js';
import {
  decodeHead,
  decodeHeader,
  decodeRecord,
  encodeHeader,
  encodeLive,
  kindOf,
  LIVE,
  versionOf,
  type LiveRecord,
  type RecordHeader,
  type RetiredRecord,
  type SessionRecord,
} from './session-record.js';
import type { SessionIdSigner } from './session-id-signer.interface.js';
import { isSessionId } from './session-id.js';
import { VERSION_LENGTH, type StoredValue } from './session-store.interface.js';
import { SessionFormatError } from './session.errors.js';

/** Where a record is: it can be read nowhere else. */
export interface RecordPlace {
  readonly handle: string;
  /** Known to requests of its client only. */
  readonly id?: string | undefined;
}

/** First character of a sealed record's first line; that of a plain one is JSON. */
const SEALED = '*';
/** First character of contents that are sealed with the session's id as well. */
const BLIND = '+';
const START = VERSION_LENGTH + 1;

/**
 * Writes and reads records: plain, or with a sealer sealed. A sealed one is
 *
 *     version (14) · kind (1) · * · sealed header · \n · + if blind · sealed contents
 *
 * Header and contents are sealed apart: a list reads headers only, and an administrator may change the
 * header of a session whose contents only its client can read. The header names the version that its
 * contents were sealed for, so that neither can be replaced by one of another time.
 */
export class SessionRecords {
  constructor(private readonly sealer?: RecordSealer) {}

  /** Whether records are sealed. */
  get sealed(): boolean {
    return this.sealer !== undefined;
  }

  encode(
    { handle, id }: RecordPlace,
    version: string,
    header: RecordHeader,
    contents: EncodedContents,
  ): StoredValue {
    const { flashText, dataText } = contents;
    const { sealer } = this;
    if (!sealer) return encodeLive(version, header, flashText, dataText);
    const isBlind = sealer.blind && id !== undefined;
    const owner = isBlind ? id : handle;
    const context = contextOf('body', handle, version);
    const sealed = sealer.seal(`${flashText}\n${dataText}`, owner, context);
    const body = { version, text: isBlind ? BLIND + sealed : sealed, length: dataText.length };
    return this.#withBody(handle, version, header, body);
  }

  /** The record with another header, as it is to be stored; its contents need not be readable. */
  amend(
    { handle }: RecordPlace,
    record: LiveRecord,
    version: string,
    header: RecordHeader,
  ): StoredValue {
    if (!record.body || !this.sealer) return this.encode({ handle }, version, header, record);
    return this.#withBody(handle, version, header, record.body);
  }

  /**
   * Reads a stored value; `undefined` for a damaged one and for one that cannot be decrypted: they count
   * as absent, and nothing else is tried on them.
   *
   * @throws SessionFormatError (`SESSION_FORMAT_UNSUPPORTED`) for a format that this node cannot read
   */
  decode(value: StoredValue, place: RecordPlace): SessionRecord | undefined {
    if (kindOf(value) !== LIVE) return decodeRecord(value) as RetiredRecord | undefined;
    if (value[START] === SEALED) return this.#open(value, place);
    if (this.sealer && !this.sealer.acceptsPlain) return undefined;
    const record = decodeRecord(value);
    return this.sealer && record?.kind === 'live' ? { ...record, stale: true } : record;
  }

  /** What leads from an old id to its successor: nobody reads or alters it who has only the store. */
  sealSuccessor(
    signer: SessionIdSigner,
    id: string,
    successorId: string,
    pointer: Pointer,
  ): string {
    const { sealer } = this;
    if (!sealer) return signer.sealSuccessor(id, successorId);
    return sealer.seal(successorId, id, textOf(pointer));
  }

  /** The id that a pointer leads to; `undefined` if it is none of this id, or was altered. */
  openSuccessor(signer: SessionIdSigner, id: string, record: RetiredRecord): string | undefined {
    const { sealer } = this;
    const opened = sealer?.open(record.sealed, id, textOf(record))?.text;
    if (opened !== undefined) return isSessionId(opened) ? opened : undefined;
    return sealer?.acceptsPlain === false ? undefined : signer.openSuccessor(id, record.sealed);
  }

  /** The header of a record, of which there is nothing but the first line. */
  headerOf(head: string, handle: string): RecordHeader | undefined {
    if (kindOf(head) !== LIVE) return undefined;
    if (head[START] === SEALED) return this.#openHeader(head, handle, this.#sealer)?.header;
    return this.sealer?.acceptsPlain === false ? undefined : decodeHead(head);
  }

  /** What events tell of a session, in one line. */
  sealNotice(handle: string, text: string): string {
    return this.sealer ? SEALED + this.sealer.seal(text, handle, `notice ${handle}`) : text;
  }

  /** The same, read again; `undefined` if it is none of this session. */
  openNotice(handle: string, line: string): string | undefined {
    const { sealer } = this;
    if (line[0] !== SEALED) return sealer?.acceptsPlain === false ? undefined : line;
    return sealer?.open(line.slice(SEALED.length), handle, `notice ${handle}`)?.text;
  }

  #withBody(handle: string, version: string, header: RecordHeader, body: SealedBody): StoredValue {
    const text = `${body.version}${encodeHeader(header, body.length)}`;
    const context = contextOf('head', handle, version);
    const head = (this.sealer as RecordSealer).seal(text, handle, context);
    return `${version}${LIVE}${SEALED}${head}\n${body.text}`;
  }

  #open(value: StoredValue, place: RecordPlace): LiveRecord | undefined {
    const end = value.indexOf('\n', START);
    const sealer = this.#sealer;
    const head = end < 0 ? undefined : this.#openHeader(value.slice(0, end), place.handle, sealer);
    if (!head) return undefined;
    const { header, stale, bodyVersion, length } = head;
    const text = value.slice(end + 1);
    const body = { version: bodyVersion, text, length };
    const version = versionOf(value);
    const record = { kind: 'live', version, header, body } as const;
    const isBlind = text[0] === BLIND;
    const owner = isBlind ? place.id : place.handle;
    if (owner === undefined) return { ...record, flashText: '', dataText: '', locked: true };
    const sealed = isBlind ? text.slice(BLIND.length) : text;
    const context = contextOf('body', place.handle, bodyVersion);
    const opened = sealer.open(sealed, owner, context);
    const middle = opened?.text.indexOf('\n') ?? -1;
    if (!opened || middle < 0 || opened.text.length - middle - 1 !== length) return undefined;
    return {
      ...record,
      flashText: opened.text.slice(0, middle),
      dataText: opened.text.slice(middle + 1),
      stale: stale || opened.stale || isBlind !== sealer.blind || undefined,
    };
  }

  #openHeader(head: string, handle: string, sealer: RecordSealer) {
    const context = contextOf('head', handle, versionOf(head));
    const opened = sealer.open(head.slice(START + SEALED.length), handle, context);
    const decoded = opened && decodeHeader(opened.text.slice(VERSION_LENGTH));
    if (!opened || !decoded) return undefined;
    return { ...decoded, stale: opened.stale, bodyVersion: opened.text.slice(0, VERSION_LENGTH) };
  }

  get #sealer(): RecordSealer {
    if (this.sealer) return this.sealer;
    throw new SessionFormatError(NO_KEYS);
  }
}

const NO_KEYS =
  'The session is encrypted, and this node has no keys: give it the same option "encryption" as the others.';

/** What a pointer says in clear. */
type Pointer = Pick<RetiredRecord, 'until' | 'successor' | 'privileged' | 'ofPrincipal'>;

const textOf = ({ until, successor, privileged, ofPrincipal }: Pointer): string =>
  `pointer ${until} ${successor} ${privileged} ${privileged && ofPrincipal}`;

/** Contents as they are stored. */
export interface SealedBody {
  readonly version: string;
  readonly text: string;
  /** Of the data in it. */
  readonly length: number;
}

const contextOf = (part: 'head' | 'body', handle: string, version: string): string =>
  `${part} ${handle} ${version}`;
