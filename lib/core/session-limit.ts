import type { SessionIdentity } from './session-identity.js';
import type { SessionLifetime } from './session-lifetime.js';
import { clientKindPlace, principalPlace } from './session-places.js';
import type { RecordHeader } from './session-record.js';
import type { OnLimit, PlaceLimit } from './session-store.interface.js';

/** A session about to be created, as a limit may look at it. */
export type LimitedSession = Omit<SessionIdentity, 'actor' | 'idpSession'>;

/** How many sessions a principal may have: a number, or what a function says; `Infinity` for no limit. */
export type MaxSessions =
  number | ((principal: string, session: LimitedSession) => number | Promise<number>);

/** How many sessions a principal may have, and what becomes of one too many (OWASP ASVS 7.1.2). */
export class SessionLimit {
  constructor(
    private readonly maxSessions: MaxSessions,
    private readonly onLimit: OnLimit,
    private readonly lifetime: SessionLifetime,
  ) {}

  /** The limit that a new session meets; `undefined`: none. */
  async of({ identity }: RecordHeader): Promise<PlaceLimit | undefined> {
    if (!identity || identity.actor) return undefined;
    const { principal, clientKind } = identity;
    const max = await this.#maxOf(identity);
    if (max === Infinity) return undefined;
    return {
      place:
        clientKind === undefined
          ? principalPlace(principal)
          : clientKindPlace(principal, clientKind),
      max,
      onLimit: this.onLimit,
      idleTimeout: this.lifetime.idleTimeout(),
      lastingIdleTimeout: this.lifetime.lastingIdleTimeout,
    };
  }

  async #maxOf(identity: SessionIdentity): Promise<number> {
    const { maxSessions } = this;
    if (typeof maxSessions === 'number') return maxSessions;
    const { actor: _, idpSession: __, ...session } = identity;
    const max = await maxSessions(identity.principal, session);
    if (max === Infinity || (Number.isInteger(max) && max >= 1)) return max;
    throw new TypeError(
      'maxSessions(principal, session) must return a whole number of at least 1, or Infinity',
    );
  }
}
