import type { Clock } from './clock.js';
import type { EncodedContents } from './session-changes.js';
import type { SessionGrants, SessionIdentity } from './session-identity.js';
import { isLasting } from './session-id.js';
import type { SessionLifetime } from './session-lifetime.js';
import { declaredPlace, placesOfIdentity, type Place } from './session-places.js';
import { nextVersion, type LiveRecord, type RecordHeader } from './session-record.js';
import type { SessionRecords } from './session-records.js';
import { copyOf } from './shared-data.js';
import type { SessionState } from './session-state.js';
import type { Standing, StoredValue } from './session-store.interface.js';
import { SessionTooLargeError } from './session.errors.js';
import type { SessionData } from './session.js';

/** What a declared index looks at. */
export interface IndexedSession {
  readonly principal: string | undefined;
  readonly roles: readonly string[];
  readonly permissions: readonly string[];
  readonly claims: Readonly<Record<string, unknown>>;
  readonly data: SessionData & Record<string, unknown>;
}

/** Under which values a session stands in an index; nothing: it does not. */
export type SessionIndexer = (
  session: IndexedSession,
) => string | readonly string[] | null | undefined;

/** What drafting needs. */
export interface SessionDrafterParts {
  readonly clock: Clock;
  readonly lifetime: SessionLifetime;
  readonly records: SessionRecords;
  /** Largest stored value, in bytes. */
  readonly maxBytes: number;
  /** Name of these sessions, if the application has several kinds. */
  readonly realm?: string | undefined;
  /** Indexes that the application declared. */
  readonly indexes?: Readonly<Record<string, SessionIndexer>> | undefined;
  /** Rejects data that violates the application's schema. */
  readonly validate?: ((data: Record<string, unknown>) => void | Promise<void>) | undefined;
}

/** A record that is ready to be written. */
export interface Draft {
  readonly value: StoredValue;
  readonly ttl: number;
  readonly now: number;
  readonly record: LiveRecord;
  readonly contents: EncodedContents;
  readonly standing: Standing;
}

/** Encodes and checks what a commit writes, before anything is written. */
export class SessionDrafter {
  constructor(private readonly parts: SessionDrafterParts) {}

  /** What a session is going to be under a handle, and an id where that is known. */
  async draft(state: SessionState, handle: string, id?: string): Promise<Draft> {
    const { clock, lifetime, maxBytes, validate } = this.parts;
    const { encoded } = state;
    if (encoded && validate) await validate(state.changes.data);
    const contents = encoded ?? state.changes.encodeAll();
    const now = clock.now();
    const header = state.header(now, lifetime.absoluteEnd(now, isLasting(handle)));
    header.realm = this.parts.realm;
    if (this.parts.indexes) header.declared = this.declared(header.identity, state.changes.data);
    const version = nextVersion(state.record?.version);
    const value = this.parts.records.encode({ handle, id }, version, header, contents);
    // Sealing makes it larger, which is no reason to refuse what was there before.
    if (mayGrow(state)) mustFit(value, maxBytes);
    const { flashText, dataText } = contents;
    const record: LiveRecord = { kind: 'live', version, header, flashText, dataText };
    const ttl = lifetime.timeToLive(now, header.absoluteEnd, handle);
    return { value, ttl, now, record, contents, standing: standingOf(header, now) };
  }

  /** Where a session stands in the indexes that the application declared. */
  declared(identity: SessionIdentity | undefined, data: IndexedSession['data']): Place[] {
    const { principal, roles = [], permissions = [], claims = {} } = identity ?? {};
    // Of one's own: the same may be shared with other requests.
    const grants = copyOf({ roles, permissions, claims }) as SessionGrants;
    const session: IndexedSession = { principal, ...grants, data };
    return Object.entries(this.parts.indexes ?? {}).flatMap(([name, valuesOf]) => {
      const values = [valuesOf(session) ?? []].flat();
      return values.map((value) => declaredPlace(name, String(value)));
    });
  }
}

/** Whether this request has put something into the session. */
const mayGrow = ({ encoded, record, renewal }: SessionState): boolean =>
  encoded !== undefined || !record || (renewal !== undefined && renewal.kind !== 'regenerate');

/** All places of a session. */
export const placesOf = ({ identity, declared = [] }: RecordHeader): Place[] => [
  ...placesOfIdentity(identity),
  ...declared,
];

/** When a session began to belong where it stands; who acts as another is no session of theirs to count. */
export const sinceOf = ({ identity, createdAt }: RecordHeader): number =>
  (identity?.authenticatedAt ?? createdAt) * (identity?.actor ? -1 : 1);

export const standingOf = (header: RecordHeader, now: number): Standing => ({
  places: placesOf(header),
  since: sinceOf(header),
  life: Math.max(1, header.absoluteEnd - now),
});

/** What a save tells of places: nothing, unless the session leaves some or comes to new ones. */
export function moveBetween(
  before: readonly Place[],
  standing: Standing,
): { standing?: Standing; leaves?: Place[] } {
  const leaves = before.filter((place) => !standing.places.includes(place));
  const comes = standing.places.some((place) => !before.includes(place));
  return leaves.length > 0 || comes ? { standing, leaves } : {};
}

/** @throws SessionTooLargeError (`SESSION_TOO_LARGE`) */
export function mustFit(value: StoredValue, maxBytes: number): void {
  const bytes = Buffer.byteLength(value);
  if (bytes > maxBytes) throw new SessionTooLargeError(bytes, maxBytes);
}
