import type { PlaceInBucket } from '../../core/revocation-list.interface.js';
import { bucketName, bucketOf, bucketOfHandle, isSessionId } from '../../core/session-id.js';
import { placesOfIdentity, principalPlace } from '../../core/session-places.js';
import { decodeHead } from '../../core/session-record.js';
import type { StoredValue } from '../../core/session-store.interface.js';

/** Epochs that were known when somebody logged in, by bucket and place; none of most places. */
export type KnownEpochs = Readonly<Record<string, string>>;

/** What a client carries of one session. */
export interface CarriedContent {
  readonly id: string;
  readonly value: StoredValue;
  /** When its idle window ends, in milliseconds since the epoch. */
  readonly until: number;
  readonly epochs: KnownEpochs;
}

/** What was read of a token. */
export interface OpenedToken extends CarriedContent {
  /** Made with a key on its way out. */
  readonly stale: boolean;
}

/** A token that came; whether it proves right may take a moment. */
export interface BroughtToken {
  readonly id: string;
  /** `undefined`: it is none of ours. */
  open(now: number): MaybeOpened | Promise<MaybeOpened>;
}

/** What comes of a token. */
export type MaybeOpened = OpenedToken | 'expired' | undefined;

/** How what is carried becomes a token, and is read again. */
export interface CarriedForm {
  /** `undefined`: it is certainly none of ours. */
  read(token: string): BroughtToken | undefined;
  write(content: CarriedContent, now: number): string | Promise<string>;
}

/** Id, end of the window, epochs, and below them the value, as one text. */
export function encodeContent({ id, value, until, epochs }: CarriedContent): string {
  const known = Object.keys(epochs).length > 0 ? JSON.stringify(epochs) : '';
  return `${id}${until.toString(36)} ${known}\n${value}`;
}

const ID_LENGTH = 44;

/** Reads it again; it comes from a token that proved right. */
export function decodeContent(text: string): CarriedContent | undefined {
  const end = text.indexOf('\n');
  const space = text.indexOf(' ');
  const id = text.slice(0, ID_LENGTH);
  if (end < 0 || space < ID_LENGTH || space > end || !isSessionId(id)) return undefined;
  const until = parseInt(text.slice(ID_LENGTH, space), 36);
  const epochs = epochsIn(text.slice(space + 1, end));
  if (!Number.isSafeInteger(until) || !epochs) return undefined;
  return { id, value: text.slice(end + 1), until, epochs };
}

function epochsIn(text: string): KnownEpochs | undefined {
  if (text === '') return {};
  try {
    return JSON.parse(text) as KnownEpochs;
  } catch {
    return undefined;
  }
}

/**
 * Where a session could be ended together with others: in the places of its own bucket, and where who really
 * acts has theirs.
 */
export function placesAround(handle: string, value: StoredValue): PlaceInBucket[] {
  const identity = headOf(value)?.identity;
  const bucket = bucketOfHandle(handle);
  const places = placesOfIdentity(identity).map((place) => ({ bucket, place }));
  const actor = identity?.actor?.principal;
  if (actor !== undefined) {
    places.push({ bucket: bucketName(bucketOf(actor)), place: principalPlace(actor) });
  }
  return places;
}

/**
 * When a session ends at the latest, in milliseconds since the epoch: as it was told when it began, and not later
 * than one that had begun at the same moment under the timeouts of this node. So nothing outlives what is noted
 * of it, also if it was handed out under longer timeouts.
 *
 * @param longest how long a session can live on this node, in milliseconds
 */
export function latestEndOf(value: StoredValue, longest: number): number {
  const head = headOf(value);
  if (!head) return Infinity;
  const { absoluteEnd, createdAt, identity } = head;
  return Math.min(absoluteEnd, (identity?.authenticatedAt || createdAt) + longest);
}

/** When it was told to end when it began: until then another node may take it for alive. */
export const toldEndOf = (value: StoredValue): number => headOf(value)?.absoluteEnd ?? 0;

/** Milliseconds by which clocks of nodes may be apart, and what is under way may come late. */
const APART = 300_000;

/** For how long to note that a session was ended which could live for so long, both in milliseconds. */
export const lifeOfNote = (longest: number): number => longest + APART;

/** Whether a new value comes of a login, or of nothing: else its seed is that of the session before. */
export const isBeginning = (value: StoredValue): boolean => headOf(value)?.seed === undefined;

const headOf = (value: StoredValue) => decodeHead(value.slice(0, value.indexOf('\n')));
