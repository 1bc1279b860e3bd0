import type { RejectionReason } from './rejection.js';
import type { SessionClient } from './session-identity.js';

/**
 * What may happen to a session: it begins (`created`), somebody logs in or begins or ends to act as another
 * (`authenticated`), proves a further factor (`elevated`), it gets a new id (`regenerated`), its contents or
 * grants change (`modified`), its user ends it (`destroyed`), somebody else or a rule does (`revoked`), its
 * time is over (`expired`). And what came as a session may be refused (`rejected`).
 */
export const SESSION_EVENT_TYPES = [
  'created',
  'authenticated',
  'elevated',
  'regenerated',
  'modified',
  'destroyed',
  'revoked',
  'expired',
  'rejected',
] as const;

export type SessionEventType = (typeof SESSION_EVENT_TYPES)[number];

/**
 * Why: of `authenticated` a `login` or a `switch` to or from another principal; of `regenerated` that its
 * time had come (`renewal`) or that the application asked for it (`regenerate`); of `modified` its `contents`,
 * or its `grants` or label by somebody else; of `destroyed` a `logout` or that its browser starts over
 * (`start-over`); of `revoked` that it was ended by name (`named`), with others (`all`), because there were
 * too many (`limit`), because a used-up id came back (`replayed`), because another client brought it
 * (`mismatch`), or because a store did not confirm it (`unconfirmed`); of `expired` that it was not used
 * (`idle`) or had lived long enough (`absolute`); of `rejected` what is wrong with what came.
 */
export type SessionEventReason =
  | 'login'
  | 'switch'
  | 'renewal'
  | 'regenerate'
  | 'contents'
  | 'grants'
  | 'logout'
  | 'start-over'
  | 'named'
  | 'all'
  | 'limit'
  | 'unconfirmed'
  | 'idle'
  | 'absolute'
  | RejectionReason;

/** What happened to a session. Nothing in it lets anybody use the session. */
export interface SessionEvent {
  /** The same whenever and wherever the event is heard: by it duplicates are recognised. */
  readonly id: string;
  readonly type: SessionEventType;
  /** When, in milliseconds since the epoch. */
  readonly at: number;
  /** Which session: under which handle it is from now on, or was. Of a rejection perhaps unknown. */
  readonly handle: string | undefined;
  /** The handle that it had before, if it got another one. */
  readonly previous: string | undefined;
  readonly reason: SessionEventReason | undefined;
  /** Whose it is, `undefined` for an anonymous session, or if that is not known any more. */
  readonly principal: string | undefined;
  /** Who really acts, if somebody acts as the principal. */
  readonly actor: string | undefined;
  readonly label: string | undefined;
  readonly clientKind: string | undefined;
  /** Address and software of the client at its login; for people, not for decisions. */
  readonly client: SessionClient;
  readonly createdAt: number | undefined;
  readonly authenticatedAt: number | undefined;
  /** What the option `events.projection` chose of the session's data. */
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Name of the sessions, if they are not those of `forRoot`. */
  readonly name: string | undefined;
}

/** Whether a session is over with this event. */
export const isEnd = ({ type }: Pick<SessionEvent, 'type'>): boolean =>
  type === 'destroyed' || type === 'revoked' || type === 'expired';

/** A time in which events could not be heard on this node. */
export interface SessionEventGap {
  /** From when to when, in milliseconds since the epoch. */
  readonly from: number;
  readonly to: number;
  /** All that was told meanwhile was heard afterwards; else some may be missing. */
  readonly complete: boolean;
}
