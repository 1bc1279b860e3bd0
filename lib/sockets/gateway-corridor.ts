import { LiveSession } from '../core/live-session.js';
import type { SessionState } from '../core/session-state.js';
import { DetachedCorridor, type MessageTraits } from '../http/detached-corridor.js';
import type { IncomingRequest } from '../http/raw-transport-request.js';
import type { KnownSessions } from '../http/session-corridor.js';
import type { SessionLane } from '../http/session-lane.js';

/** How a message gets the sessions of its socket. */
export interface MessageSessions {
  /** The session as it is now: the token of the handshake may be an old one. No I/O. */
  open(lane: SessionLane): LiveSession;
  /** @throws SessionRequiredError (`SESSION_REQUIRED`) if what the socket was opened with is over */
  verify(lane: SessionLane, state: SessionState): void;
  /** An error as the platform tells its clients of it. */
  toException(error: unknown): unknown;
}

/** What stands between one message to a gateway and the sessions of its socket. */
export class GatewayCorridor extends DetachedCorridor {
  override readonly takesNoId =
    'Over a socket no cookie or token can be handed to its client: begin sessions, log in and prove factors over HTTP.';

  constructor(
    known: KnownSessions,
    handshake: IncomingRequest,
    private readonly sessions: MessageSessions,
  ) {
    super(known, handshake);
    const lanes = [this.main, ...[...known.named.keys()].map((name) => this.lane(name))];
    for (const lane of lanes) lane.continueWith(sessions.open(lane));
  }

  override exceptionOf(error: unknown): unknown {
    return this.sessions.toException(error);
  }

  protected override async openLane(lane: SessionLane, traits: MessageTraits): Promise<void> {
    const { session } = lane;
    const state = LiveSession.stateOf(session);
    if (!state.loaded) {
      state.passive = traits.passive;
      if (traits.onStoreFailure) state.onStoreFailure = traits.onStoreFailure;
      await session.load();
    }
    this.sessions.verify(lane, state);
  }
}
