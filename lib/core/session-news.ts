import { randomBytes } from 'node:crypto';
import type { Clock } from './clock.js';
import type { News } from './news.interface.js';
import {
  SESSION_EVENT_TYPES,
  type SessionEvent,
  type SessionEventReason,
  type SessionEventType,
} from './session.events.js';
import type { IndexedSession } from './session-draft.js';
import { digestOf } from './session-identity.js';
import { isHandle } from './session-id.js';
import {
  decodeNotice,
  encodeNotice,
  NO_NOTICE,
  type Attributes,
  type Notice,
} from './session-notice.js';
import type { RecordHeader } from './session-record.js';
import type { SessionRecords } from './session-records.js';

/** Chooses what of a session's data events tell; must only compute. */
export type EventProjection = (session: IndexedSession) => Attributes | undefined;

/** What telling needs. */
export interface SessionNewsParts {
  readonly clock: Clock;
  readonly records: SessionRecords;
  readonly projection?: EventProjection | undefined;
  /** Told of what an application's projection does wrong. */
  readonly onTrouble?: ((message: string, error?: unknown) => void) | undefined;
  /** Saves are told, too. */
  readonly modified: boolean;
  /** Name of these sessions, if the application has several kinds. */
  readonly realm?: string | undefined;
}

/** What an application has sent to all that a principal has open. */
export interface PrincipalCall {
  readonly principal: string;
  readonly event: string;
  readonly data: unknown;
  /** Name of the sessions, if they are not those of `forRoot`. */
  readonly name?: string | undefined;
}

/** Why something happens, beside what. */
interface Circumstances {
  readonly reason?: SessionEventReason;
  readonly previous?: string;
}

// Short keys, as in records; unknown ones are ignored, for the next version.
interface Message {
  i: string;
  t: readonly SessionEventType[];
  a: number;
  r?: SessionEventReason | undefined;
  h?: string | undefined;
  z?: string | undefined;
}

/** Hundreds of sessions may be told of in one text. */
const LONGEST_ATTRIBUTES = 4_000;
/** Longer texts are not looked at: no store sends them. */
const LONGEST = 8_000_000;

/** Says what happens to sessions so that stores can tell it, and reads what stores have told. */
export class SessionNews {
  constructor(private readonly parts: SessionNewsParts) {}

  /** What a store tells if a change is made; its line about the session is put to it there. */
  message(types: readonly SessionEventType[], why: Circumstances = {}): string {
    const now = this.parts.clock.now();
    const { reason, previous } = why;
    const i = newEventId(now);
    const message: Message = { i, t: types, a: now, r: reason, h: previous, z: this.parts.realm };
    return JSON.stringify(message);
  }

  /** A session gives way to another of the same browser, which begins in the same step. */
  startOver(
    before: { readonly handle: string; readonly header: RecordHeader },
    types: readonly SessionEventType[],
  ): string {
    const ended = this.message(['destroyed'], { reason: 'start-over' });
    const notice = encodeNotice(this.parts.records, before.handle, before.header);
    const line = lineOf(before.handle, undefined, notice);
    return `${ended}\n${line}\n${this.message(types)}`;
  }

  /** A session ends. */
  end(type: 'destroyed' | 'revoked' | 'expired', reason?: SessionEventReason): News {
    return { message: this.message([type], { ...(reason && { reason }) }) };
  }

  /** Contents or grants were written; nothing is told unless that is wanted, but what is told later may change. */
  saved(reason: 'contents' | 'grants', notice: string | undefined): News | undefined {
    if (this.parts.modified) return { message: this.message(['modified'], { reason }), notice };
    return notice === undefined ? undefined : { notice };
  }

  /** Whether events tell of data. */
  get tellsData(): boolean {
    return this.parts.projection !== undefined;
  }

  /**
   * What is told of a session. Its data are decoded only if events tell of them.
   *
   * @param dataOf gives the data
   */
  notice(handle: string, header: RecordHeader, dataOf: () => Record<string, unknown>): string {
    const { records, projection } = this.parts;
    if (!projection) return encodeNotice(records, handle, header);
    return encodeNotice(records, handle, header, this.#attributes(projection, header, dataOf));
  }

  /** That they cannot be told is no reason to refuse a login, or to keep rights that were taken away. */
  #attributes(
    projection: EventProjection,
    header: RecordHeader,
    dataOf: () => Record<string, unknown>,
  ): string | undefined {
    const { principal, roles = [], permissions = [], claims = {} } = header.identity ?? {};
    const { onTrouble } = this.parts;
    try {
      const session = {
        principal,
        roles,
        permissions,
        claims,
        data: dataOf() as IndexedSession['data'],
      };
      const text = JSON.stringify(projection(session) ?? {});
      if (text.length <= LONGEST_ATTRIBUTES) return text;
      onTrouble?.(
        `events.projection gives ${text.length} characters, and at most ${LONGEST_ATTRIBUTES} are told: choose less`,
      );
    } catch (error) {
      onTrouble?.('events.projection failed: its session is told of without attributes', error);
    }
    return undefined;
  }

  /** Whose session it is of which this is told; `undefined`: nobody's, or it cannot be read. */
  principalOf(handle: string, notice: string): string | undefined {
    return decodeNotice(this.parts.records, handle, notice).principal;
  }

  /** What is sent to a principal, sealed where records are. */
  call(principal: string, event: string, data: unknown): string {
    const { records, realm } = this.parts;
    const owner = digestOf(principal);
    const call: PrincipalCall = { principal, event, data, name: realm };
    return `${owner} ${records.sealNotice(owner, JSON.stringify(call))}`;
  }

  /** The same, read again; `undefined` for what is none. */
  readCall(text: string): PrincipalCall | undefined {
    if (text.length > LONGEST) return undefined;
    const owner = text.split(' ', 1)[0] as string;
    const opened = this.parts.records.openNotice(owner, text.slice(owner.length + 1));
    try {
      const call = JSON.parse(opened ?? '') as PrincipalCall;
      const fits = typeof call.principal === 'string' && typeof call.event === 'string';
      return fits && digestOf(call.principal) === owner ? call : undefined;
    } catch {
      return undefined;
    }
  }

  /** Milliseconds since the epoch. */
  now(): number {
    return this.parts.clock.now();
  }

  /** An id that tells the time, and is no event's. */
  newId(): string {
    return `${newEventId(this.now())}.0`;
  }

  /** An event of this node alone. */
  local(
    type: 'rejected' | 'expired',
    reason: SessionEventReason,
    handle: string | undefined,
  ): SessionEvent {
    const at = this.parts.clock.now();
    const { absoluteEnd: _, ...notice } = NO_NOTICE;
    const id = this.newId();
    const name = this.parts.realm;
    return { ...notice, id, type, at, handle, previous: undefined, reason, name };
  }

  /** The ids that the events of a text begin with. */
  idsOf(text: string): string[] {
    const lines = text.slice(0, LONGEST).split('\n');
    return lines.flatMap((line) => (line[0] === '{' ? (readMessage(line)?.i ?? []) : []));
  }

  /**
   * What a store has told, as events. It came over a network that others may write to: what does not fit
   * is left out.
   */
  read(text: string): SessionEvent[] {
    if (text.length > LONGEST) return [];
    const events: SessionEvent[] = [];
    let message: Message | undefined;
    for (const line of text.split('\n')) {
      if (line[0] === '{') {
        message = readMessage(line);
        continue;
      }
      const session = message && this.#concerned(message, line);
      if (!session) continue;
      const types = session.message.t.filter((type) => SESSION_EVENT_TYPES.includes(type));
      types.forEach((type, i) => events.push(eventOf(type, idOf(session, i), session)));
    }
    return events;
  }

  #concerned(message: Message, line: string): Concerned | undefined {
    const [handle = '', instant = '', ...rest] = line.split(' ');
    const at = instant === '-' ? message.a : Number(instant || NaN);
    if (message.z !== this.parts.realm || !isHandle(handle) || !Number.isFinite(at))
      return undefined;
    const notice = decodeNotice(this.parts.records, handle, rest.join(' '));
    return { message, handle, at, notice };
  }
}

/** What a message is followed by, for each session that it is about. */
export const lineOf = (handle: string, at: number | undefined, notice = ''): string =>
  `${handle} ${at ?? '-'} ${notice}`;

interface Concerned {
  readonly message: Message;
  readonly handle: string;
  readonly at: number;
  readonly notice: Notice;
}

/** By the session, not by its place in a text: a script that is sent again meets others. */
const idOf = ({ message, handle }: Concerned, type: number): string =>
  `${message.i}.${type}${handle.slice(2, 14)}`;

function eventOf(
  type: SessionEventType,
  id: string,
  { message, handle, at, notice }: Concerned,
): SessionEvent {
  const { absoluteEnd, ...known } = notice;
  const { r, h, z } = message;
  const expiry = absoluteEnd !== undefined && at >= absoluteEnd - 1_000 ? 'absolute' : 'idle';
  return {
    ...known,
    id,
    type,
    at,
    handle,
    previous: type === 'created' ? undefined : h,
    reason: type === 'expired' ? expiry : type === 'created' ? undefined : r,
    name: z,
  };
}

function readMessage(text: string): Message | undefined {
  let message: Partial<Message> | null;
  try {
    message = JSON.parse(text) as Partial<Message> | null;
  } catch {
    return undefined;
  }
  const { i, t, a, r, h, z } = message ?? {};
  const fits =
    typeof i === 'string' &&
    /^[\w-]{12,40}$/.test(i) &&
    Array.isArray(t) &&
    t.length <= SESSION_EVENT_TYPES.length &&
    Number.isFinite(a) &&
    (r === undefined || (typeof r === 'string' && r.length <= 32)) &&
    (h === undefined || (typeof h === 'string' && isHandle(h))) &&
    (z === undefined || typeof z === 'string');
  return fits ? (message as Message) : undefined;
}

/** Begins with the time: ids that come later sort later, as far as clocks agree. */
const newEventId = (now: number): string =>
  `${Math.trunc(now).toString(36).padStart(9, '0')}${randomBytes(9).toString('base64url')}`;

/** When an event of this id was told, by the clock of the node that did it; `undefined` for what is no id. */
export const timeOfEventId = (id: string): number | undefined =>
  /^[0-9a-z]{9}[\w-]{3,31}\.[\w-]{1,40}$/.test(id) ? parseInt(id.slice(0, 9), 36) : undefined;
