/**
 * Why something that came as a session was refused: no token at all, or not of these sessions
 * (`malformed`); several that prove right (`ambiguous`); what is stored cannot be read (`damaged`) or
 * decrypted (`undecryptable`); an id that was given up before (`replayed`); a client that differs from the
 * one that the session began with (`mismatch`); a device that is not the session's (`unproven`);
 * another site that made a browser send it, as far as `SessionCsrfGuard` can tell (`csrf`).
 */
export type RejectionReason =
  | 'malformed'
  | 'ambiguous'
  | 'damaged'
  | 'undecryptable'
  | 'replayed'
  | 'mismatch'
  | 'unproven'
  | 'csrf';

/** Something that came as a session, and was refused. Nothing in it can be used. */
export interface SessionRejection {
  readonly reason: RejectionReason;
  /** Which session, as far as that is known. */
  readonly handle?: string | undefined;
  /** Name of the sessions, if they are not those of `forRoot`. */
  readonly name?: string | undefined;
}

export type RejectionListener = (reason: RejectionReason, handle?: string) => void;

/** What happens when an id is used that was given up before: it is refused, or the session that goes on ends as well. */
export type ReplayPolicy = 'refuse' | 'end';

export const REPLAY_POLICIES: readonly ReplayPolicy[] = ['refuse', 'end'];
