import type { SessionEvent } from './session.events.js';
import { decodeIdentity, encodeIdentity, type StoredIdentity } from './session-identity.js';
import type { RecordHeader } from './session-record.js';
import type { SessionRecords } from './session-records.js';

/** What events tell of a session, beside its handle. */
export type Notice = Pick<
  SessionEvent,
  | 'principal'
  | 'actor'
  | 'label'
  | 'clientKind'
  | 'client'
  | 'createdAt'
  | 'authenticatedAt'
  | 'attributes'
> & { readonly absoluteEnd: number | undefined };

/** Attributes that an application has chosen to be told. */
export type Attributes = Readonly<Record<string, unknown>>;

// Short keys: it is stored beside every session, for when that ends by time.
interface StoredNotice extends Pick<StoredIdentity, 'p' | 'l' | 't' | 'k' | 'a'> {
  c: number;
  e: number;
  o?: string | undefined;
  d?: unknown;
}

export const NO_NOTICE: Notice = Object.freeze({
  principal: undefined,
  actor: undefined,
  label: undefined,
  clientKind: undefined,
  client: Object.freeze({}),
  createdAt: undefined,
  authenticatedAt: undefined,
  attributes: Object.freeze({}),
  absoluteEnd: undefined,
});

/** One line, sealed where records are: what is told of a session is read with the keys that it is. */
export function encodeNotice(
  records: SessionRecords,
  handle: string,
  header: RecordHeader,
  attributes?: string,
): string {
  const { identity, createdAt, absoluteEnd } = header;
  const { p, l, t, k, a } = identity ? encodeIdentity(identity) : ({} as StoredIdentity);
  const o = identity?.actor?.principal;
  const stored: StoredNotice = { p, l, t, k, a, c: createdAt, e: absoluteEnd, o };
  const text = JSON.stringify(stored);
  // They are text already.
  const all = attributes === undefined ? text : `${text.slice(0, -1)},"d":${attributes}}`;
  return records.sealNotice(handle, all);
}

/** Anybody who may publish may send one: what does not fit counts as absent. */
export function decodeNotice(records: SessionRecords, handle: string, line: string): Notice {
  const stored = parsed(records.openNotice(handle, line) ?? '');
  if (!stored) return NO_NOTICE;
  // Of whoever acts only the name is told.
  const identity = decodeIdentity({ ...stored, o: undefined } as StoredIdentity);
  return {
    principal: identity?.principal,
    actor: typeof stored.o === 'string' ? stored.o : undefined,
    label: identity?.label,
    clientKind: identity?.clientKind,
    client: identity?.client ?? {},
    createdAt: numberOf(stored.c),
    authenticatedAt: identity && numberOf(stored.a),
    attributes: isObject(stored.d) ? stored.d : {},
    absoluteEnd: numberOf(stored.e),
  };
}

const numberOf = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isFinite(value) ? value : undefined;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function parsed(text: string): Partial<Record<keyof StoredNotice, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (!isObject(value)) return undefined;
    return value;
  } catch {
    return undefined;
  }
}
