import { randomBytes } from 'node:crypto';
import {
  decodeDevice,
  encodeDevice,
  type SessionDevice,
  type StoredDevice,
} from './session-device.js';
import { isHandle } from './session-id.js';
import {
  decodeIdentity,
  encodeIdentity,
  type SessionIdentity,
  type StoredIdentity,
} from './session-identity.js';
import type { Place } from './session-places.js';
import type { SharedData } from './shared-data.js';
import { SessionFormatError } from './session.errors.js';
import { VERSION_LENGTH, type StoredValue } from './session-store.interface.js';

/**
 * A stored value is
 *
 *     version (14) · kind (1) · header JSON · \n · flash JSON or nothing · \n · data as the codec wrote it
 *
 * The version stands first at a fixed width, so that a store compares it without parsing. Header
 * and data are apart, so that a guard which asks only for the principal never pays for the data;
 * the header knows the data's length, so that a truncated value is seen at once.
 */
export interface RecordHeader {
  /** When the session began. */
  createdAt: number;
  /** When it ends however active it is. */
  absoluteEnd: number;
  /** When it was last written; the idle window may have moved since. */
  savedAt: number;
  /** Absent: an anonymous session. */
  identity?: SessionIdentity | undefined;
  /** Places in indexes that the application declared; those that follow from the identity are not told. */
  declared?: readonly Place[] | undefined;
  /** What it may do was changed from outside: its next request gives it a new id. */
  renew?: true | undefined;
  /** Name of the sessions that it is one of; absent: those of `forRoot`. */
  realm?: string | undefined;
  /** Since when it has its id; absent: since it began. */
  idSince?: number | undefined;
  /** What its CSRF tokens are made of; absent: it follows from its id, which is the first since the login. */
  seed?: string | undefined;
  /** What its client had in common with all of its requests when it began. */
  bound?: Readonly<Record<string, string>> | undefined;
  /** The device that it is bound to: only who has that device's key may use it. */
  device?: SessionDevice | undefined;
}

/** Values kept for the next reader only. */
export type FlashMessages = Record<string, unknown[]>;

export interface LiveRecord {
  readonly kind: 'live';
  readonly version: string;
  readonly header: RecordHeader;
  readonly flashText: string;
  readonly dataText: string;
  /** The contents as they are stored, if they are sealed. */
  readonly body?: { readonly version: string; readonly text: string; readonly length: number };
  /** The contents can only be read with the session's id, which is not known here. */
  readonly locked?: true | undefined;
  /** It is to be written again: with a newer key, or sealed at all. */
  readonly stale?: true | undefined;
  /** The data, decoded for all requests that share the record. */
  readonly shared?: SharedData | undefined;
}

/**
 * What is left of an id that was renewed. `sealed` holds the successor's id, readable only with
 * the old id. A renewal that came with an authentication is `privileged`: whoever merely has
 * the old id must not be led into the authenticated session (session fixation), only who has
 * authenticated as the same principal may follow.
 */
export interface RetiredRecord {
  readonly kind: 'retired';
  readonly version: string;
  /** The successor's handle: enough to end it, not to use it. */
  readonly successor: string;
  readonly sealed: string;
  readonly privileged: boolean;
  /** Somebody was logged in under the old id already. */
  readonly ofPrincipal: boolean;
  /** Until when it leads on, in milliseconds since the epoch; the record itself may stay longer. */
  readonly until: number;
}

export type SessionRecord = LiveRecord | RetiredRecord;

/** Kind of a record that is a session; all others only tell where one has gone. */
export const LIVE = '1';
const RETIRED = '>';
const RETIRED_AT_LOGIN = '!';
const RETIRED_SINCE_LOGIN = '?';
const RETIRED_KINDS = [RETIRED, RETIRED_AT_LOGIN, RETIRED_SINCE_LOGIN];

/**
 * A version no other write has: a counter, which tells older from newer, and a random part, by
 * which a writer knows its own write again after a lost reply.
 */
export function nextVersion(previous?: string): string {
  const count = previous ? parseInt(previous.slice(0, 8), 16) + 1 : 1;
  return count.toString(16).padStart(8, '0') + nonce();
}

/** The counter of a version, or of a value that begins with one. */
export const countOf = (version: string): number => parseInt(version.slice(0, 8), 16);

let nonces = '';
function nonce(): string {
  if (nonces.length < 6) nonces = randomBytes(768).toString('base64url');
  const taken = nonces.slice(0, 6);
  nonces = nonces.slice(6);
  return taken;
}

export const kindOf = (value: StoredValue): string | undefined => value[VERSION_LENGTH];

export const versionOf = (value: StoredValue): string => value.slice(0, VERSION_LENGTH);

export function encodeLive(
  version: string,
  header: RecordHeader,
  flashText: string,
  dataText: string,
): StoredValue {
  const head = encodeHeader(header, dataText.length);
  return `${version}${LIVE}${head}\n${flashText}\n${dataText}`;
}

export function encodeRetired(record: Omit<RetiredRecord, 'kind'>): StoredValue {
  const since = record.ofPrincipal ? RETIRED_SINCE_LOGIN : RETIRED_AT_LOGIN;
  const kind = record.privileged ? since : RETIRED;
  return `${record.version}${kind}${record.until}.${record.successor}.${record.sealed}`;
}

/**
 * Reads a stored value; `undefined` for a damaged one, which counts as absent.
 *
 * @throws SessionFormatError (`SESSION_FORMAT_UNSUPPORTED`) for a format that a newer version writes
 */
export function decodeRecord(value: StoredValue): SessionRecord | undefined {
  const version = versionOf(value);
  const kind = kindOf(value);
  const rest = VERSION_LENGTH + 1;
  if (kind === LIVE) return decodeLive(version, value, rest);
  if (RETIRED_KINDS.includes(kind ?? '')) return decodeRetired(version, kind, value.slice(rest));
  if (/^[0-9a-f]{8}[A-Za-z0-9_-]{6}[2-9A-Z]/.test(value)) throw new SessionFormatError();
  return undefined;
}

function decodeRetired(
  version: string,
  kind: string | undefined,
  text: string,
): RetiredRecord | undefined {
  const [end = '', successor = '', sealed = ''] = text.split('.');
  const until = Number(end);
  if (!Number.isFinite(until) || !isHandle(successor) || sealed === '') return undefined;
  return {
    kind: 'retired',
    version,
    until,
    successor,
    sealed,
    privileged: kind !== RETIRED,
    ofPrincipal: kind === RETIRED_SINCE_LOGIN,
  };
}

function decodeLive(version: string, value: string, start: number): LiveRecord | undefined {
  const headerEnd = value.indexOf('\n', start);
  const flashEnd = headerEnd < 0 ? -1 : value.indexOf('\n', headerEnd + 1);
  if (flashEnd < 0) return undefined;
  const decoded = decodeHeader(value.slice(start, headerEnd));
  if (decoded?.length !== value.length - flashEnd - 1) return undefined;
  return {
    kind: 'live',
    version,
    header: decoded.header,
    flashText: value.slice(headerEnd + 1, flashEnd),
    dataText: value.slice(flashEnd + 1),
  };
}

// Short keys: the header is stored with every session. Unknown keys are ignored, so that a node
// of the next version can add some during a rolling deploy.
interface StoredHeader extends StoredIdentity {
  n: number;
  c: number;
  e: number;
  s: number;
  x?: readonly Place[] | undefined;
  w?: true | undefined;
  z?: string | undefined;
  i?: number | undefined;
  u?: string | undefined;
  b?: Readonly<Record<string, string>> | undefined;
  g?: StoredDevice | undefined;
}

export function encodeHeader(header: RecordHeader, dataLength: number): string {
  const stored: StoredHeader = {
    n: dataLength,
    c: header.createdAt,
    e: header.absoluteEnd,
    s: header.savedAt,
    ...(header.identity && encodeIdentity(header.identity)),
    x: header.declared?.length ? header.declared : undefined,
    w: header.renew,
    z: header.realm,
    i: header.idSince,
    u: header.seed,
    b: header.bound,
    g: header.device && encodeDevice(header.device),
  };
  return JSON.stringify(stored);
}

const isTexts = (value: unknown): value is Record<string, string> =>
  typeof value === 'object' &&
  value !== null &&
  Object.values(value).every((one) => typeof one === 'string');

/** The header of a stored value of which only the beginning is there; `undefined` if it is none. */
export function decodeHead(head: string): RecordHeader | undefined {
  if (kindOf(head) !== LIVE) return undefined;
  return decodeHeader(head.slice(VERSION_LENGTH + 1))?.header;
}

/** A header, and the length of the data that it belongs to. */
export function decodeHeader(text: string): { header: RecordHeader; length: number } | undefined {
  let stored: StoredHeader;
  try {
    stored = JSON.parse(text) as StoredHeader;
  } catch {
    return undefined;
  }
  if (!Number.isFinite(stored?.c) || !Number.isFinite(stored.e) || !Number.isFinite(stored.s)) {
    return undefined;
  }
  if (stored.p !== undefined && typeof stored.p !== 'string') return undefined;
  const device = decodeDevice(stored.g);
  // Were it merely left out, anybody could use the session.
  if (stored.g !== undefined && !device) return undefined;
  const header: RecordHeader = {
    createdAt: stored.c,
    absoluteEnd: stored.e,
    savedAt: stored.s,
    identity: decodeIdentity(stored),
    declared: Array.isArray(stored.x) ? stored.x : undefined,
    renew: stored.w === true || undefined,
    realm: stored.z,
    idSince: Number.isFinite(stored.i) ? stored.i : undefined,
    seed: typeof stored.u === 'string' ? stored.u : undefined,
    bound: isTexts(stored.b) ? stored.b : undefined,
    device,
  };
  return { header, length: stored.n };
}
