import type { Clock } from './clock.js';
import type { News } from './news.interface.js';
import { placesOf } from './session-draft.js';
import type { SessionLifetime } from './session-lifetime.js';
import type { SessionNews } from './session-news.js';
import type { Place } from './session-places.js';
import type { SessionReader } from './session-reader.js';
import type { LiveRecord, RetiredRecord } from './session-record.js';
import { isIndexed, type SessionStore } from './session-store.interface.js';
import type { SessionEventReason } from './session.events.js';
import { SessionStoreUnavailableError, SessionUnconfirmedError } from './session.errors.js';

/** What ending needs. */
export interface SessionEndingParts {
  readonly store: SessionStore;
  readonly lifetime: SessionLifetime;
  readonly clock: Clock;
  /** Says what is told; `undefined`: nothing is. */
  readonly news?: SessionNews | undefined;
  /** Told of a session that could not be ended, and how to try again. */
  readonly onEndFailed?: ((handle: string, end: () => Promise<unknown>) => void) | undefined;
}

/** How to end a session. */
export interface EndOptions {
  /** Its record, as last seen: saves looking where it stands. */
  readonly known?: LiveRecord | undefined;
  /** Not beyond a login by somebody who was not logged in under the id before. */
  readonly ownOnly?: boolean | undefined;
  /** Why somebody else than its user ends it; absent: its user does. */
  readonly revoked?: SessionEventReason | undefined;
}

/** A session to end. */
interface Ending extends Pick<EndOptions, 'revoked'> {
  /** Under which it is now, as far as is known. */
  handle: string;
  /** When it could not be ended, in milliseconds since the epoch. */
  since?: number;
  /** What came of another's login is not: whoever has an id from before it may have planted it. */
  readonly ownOnly?: boolean | undefined;
}

/** Renewals that are followed to the session that goes on: old ids are known for as long as their use is noticed. */
export const FAMILY_HOPS = 10_000;

const LOGOUT_UNCONFIRMED =
  'the end of the session is not confirmed, and is tried again for a while';

/** Makes sessions end, wherever they have gone on in the meantime. */
export class SessionEnding {
  constructor(
    private readonly parts: SessionEndingParts,
    private readonly reader: SessionReader,
  ) {}

  /**
   * Ends the session of a handle; `false` if there was none. If the id was renewed meanwhile, the
   * session that goes on under another one is the one to end.
   *
   * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) if that is not certain; it is tried again
   */
  async end(handle: string, { known, ...options }: EndOptions = {}): Promise<boolean> {
    const ending: Ending = { handle, ...options };
    try {
      return await this.#endNow(ending, known);
    } catch (error) {
      const { onEndFailed, clock } = this.parts;
      if (!(error instanceof SessionStoreUnavailableError) || !onEndFailed) throw error;
      ending.since = clock.now();
      onEndFailed(handle, () => this.#endNow(ending));
      if (error instanceof SessionUnconfirmedError) throw error;
      throw new SessionStoreUnavailableError(error.reason, LOGOUT_UNCONFIRMED, error.answered);
    }
  }

  async #endNow(ending: Ending, known?: LiveRecord, hop = 0): Promise<boolean> {
    const { store, lifetime, clock } = this.parts;
    const { handle } = ending;
    lifetime.forget(handle, clock.now());
    const seen = known ?? (await this.#recordOf(handle));
    // Where it leads first: should this be interrupted, the way there is not lost.
    if (seen?.kind === 'retired' && hop < FAMILY_HOPS) {
      if (ending.ownOnly && leadsToAnothers(seen)) return false;
      const ended = await this.#endSuccessor(ending, seen.successor, hop);
      await store.delete(handle);
      return ended;
    }
    const leaves = placesIn(seen);
    const value = await store.delete(handle, leaves, { confirm: true, news: this.#newsOf(ending) });
    const record = value === undefined ? undefined : this.reader.decode(value, handle);
    // It was renewed in between.
    if (record?.kind === 'retired') {
      if (hop >= FAMILY_HOPS || (ending.ownOnly && leadsToAnothers(record))) return false;
      return this.#endSuccessor(ending, record.successor, hop);
    }
    const others = placesIn(record).filter((place) => !leaves.includes(place));
    if (others.length > 0) await store.delete(handle, others);
    return record !== undefined;
  }

  #newsOf({ revoked }: Ending): News | undefined {
    const { news } = this.parts;
    return revoked ? news?.end('revoked', revoked) : news?.end('destroyed', 'logout');
  }

  /** From then on it is the one to end: the way to it may be gone when that is tried again. */
  async #endSuccessor(ending: Ending, successor: string, hop: number): Promise<boolean> {
    const { since } = ending;
    if (since !== undefined) {
      const identity = (await this.reader.read(successor))?.header.identity;
      // Somebody has logged in in the same browser since: that is another session.
      if (identity && identity.authenticatedAt > since) return false;
    }
    ending.handle = successor;
    return this.#endNow(ending, undefined, hop + 1);
  }

  /** What is stored of a handle, if it matters for where it stands. */
  async #recordOf(handle: string) {
    const { store } = this.parts;
    if (!isIndexed(store) || store.abilities?.reachable === false) return undefined;
    const loaded = await store.load(handle);
    return loaded && this.reader.decode(loaded.value, handle);
  }
}

const leadsToAnothers = ({ privileged, ofPrincipal }: RetiredRecord): boolean =>
  privileged && !ofPrincipal;

const placesIn = (record: LiveRecord | RetiredRecord | undefined): Place[] =>
  record?.kind === 'live' ? placesOf(record.header) : [];
