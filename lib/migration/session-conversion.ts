import type { SessionCodec } from '../core/session-codec.interface.js';
import { LiveSession } from '../core/live-session.js';
import { bucketOf, handleOf } from '../core/session-id.js';
import type { SessionManager } from '../core/session-manager.js';
import { kindOf, LIVE } from '../core/session-record.js';
import { authentication } from '../core/session-renewal.js';
import type { SessionStore } from '../core/session-store.interface.js';
import { SessionState } from '../core/session-state.js';
import { SessionConflictError } from '../core/session.errors.js';
import type { LegacyCookies } from './legacy-cookies.js';
import type { Attributes, MappedSession } from './legacy-record.js';

/** What converting needs. */
export interface ConversionParts {
  readonly manager: SessionManager;
  /** Where the sessions of ours are, to look what has become of an id. */
  readonly behind: SessionStore;
  readonly cookies: LegacyCookies;
  readonly codec: SessionCodec;
}

/** From which id of the other library a session comes, and as whose. */
export interface Origin {
  readonly id: string;
  readonly principal?: string | undefined;
  readonly lasting: boolean;
  /** How many ids were tried before that had been given up meanwhile. */
  readonly round: number;
}

/** A session that gets this id or none: who finds it taken has lost to somebody who does just the same. */
class SessionWithId extends SessionState {
  constructor(
    codec: SessionCodec,
    { openedAt, absoluteEnd, client, bind }: SessionState,
    private readonly only: string,
  ) {
    super(codec, openedAt, absoluteEnd, {});
    this.client = client;
    this.bind = bind;
    this.required = true;
  }

  override get nextId(): string {
    return this.only;
  }

  override takeOtherId(): void {
    throw new SessionConflictError();
  }
}

/** Ids of one session that were given up one after the other while its record in the other library went on. */
const ROUNDS = 16;

/**
 * The id that a session gets here follows from the one that it has there, and from whose it is. So requests
 * that convert it at the same moment, on whatever nodes, come to the same session without asking each other;
 * and it is another one as soon as somebody logs in under an id that was known before.
 */
export function idFrom(cookies: LegacyCookies, { id, principal, lasting, round }: Origin): string {
  const digest = cookies.digest(id, principal ?? null, lasting, round);
  // As newSessionId lays it out: one byte of bucket, one bit of kind, and what nobody can guess.
  const bucket = principal === undefined ? cookies.digest('bucket', id)[0]! : bucketOf(principal);
  digest[0] = lasting ? digest[0]! | 0x80 : digest[0]! & 0x7f;
  return Buffer.concat([Buffer.of(bucket), digest]).toString('base64url');
}

/** What became of a conversion. */
export interface Converted {
  readonly id: string;
  readonly origin: Origin;
  /** By this request; else somebody else was faster. */
  readonly created: boolean;
}

/**
 * Makes a session of ours from one of the other library, once.
 *
 * @param before called with the handle before the session exists
 */
export async function convert(
  parts: ConversionParts,
  asked: SessionState,
  legacyId: string,
  mapped: MappedSession,
  before: (handle: string) => Promise<unknown>,
): Promise<Converted> {
  const { principal, rememberMe: lasting = false } = mapped;
  for (let round = 0; round < ROUNDS; round++) {
    const origin: Origin = { id: legacyId, principal, lasting, round };
    const id = idFrom(parts.cookies, origin);
    const handle = handleOf(id);
    const there = (await parts.behind.load(handle))?.value;
    // It was renewed here: whoever does not know the new id gets a session of their own.
    if (there !== undefined && kindOf(there) !== LIVE) continue;
    await before(handle);
    if (there !== undefined) return { id, origin, created: false };
    return { id, origin, created: await create(parts, asked, id, mapped) };
  }
  throw new SessionConflictError();
}

async function create(
  { manager, codec }: ConversionParts,
  asked: SessionState,
  id: string,
  { principal, data = {}, ...grants }: MappedSession,
): Promise<boolean> {
  const like = LiveSession.stateOf(manager.open([], asked.client));
  const state = new SessionWithId(codec, like, id);
  for (const [key, value] of Object.entries(data as Attributes)) state.changes.set(key, value);
  if (principal === undefined) state.moveTo(id);
  else state.renew(authentication(principal, grants, asked.client?.describe()));
  try {
    await manager.commit(state);
    return true;
  } catch (error) {
    if (error instanceof SessionConflictError) return false;
    throw error;
  }
}
