import { SessionCsrfError } from '../core/session.errors.js';
import { LiveSession } from '../core/live-session.js';
import type { RequestingClient } from '../core/session-binding.js';
import type { StoreFailurePolicy } from '../core/store-failure.js';
import { isForeignHandshake } from '../security/csrf.js';
import {
  ConnectionRequest,
  type ConnectedSession,
  type OpenConnection,
} from './open-connection.js';
import type { IncomingRequest } from './raw-transport-request.js';
import { SessionCorridor, type KnownSessions } from './session-corridor.js';
import type { SessionLane } from './session-lane.js';

/** What the route of a message says about how its session is read. */
export interface MessageTraits {
  readonly passive: boolean;
  readonly onStoreFailure: StoreFailurePolicy | undefined;
}

/**
 * The corridor of a message that is no request over HTTP: no response carries an id back, so none is given,
 * and whoever handles the message commits.
 */
export abstract class DetachedCorridor extends SessionCorridor {
  readonly #opened = new Map<SessionLane, Promise<void>>();
  /** Somebody commits after its handler. */
  isHandled = false;
  override answered = true;
  abstract override readonly takesNoId: string;

  /** Reads the session of a lane, once. */
  open(lane: SessionLane, traits: MessageTraits): Promise<void> {
    let opening = this.#opened.get(lane);
    if (!opening) {
      opening = this.openLane(lane, traits).catch((error: unknown) => {
        // The next one asks again: a failure is not an answer.
        this.#opened.delete(lane);
        throw error;
      });
      this.#opened.set(lane, opening);
    }
    return opening;
  }

  protected abstract openLane(lane: SessionLane, traits: MessageTraits): Promise<void>;
}

/** Of a message over a socket: the sessions are those of its handshake, under the ids that they have by now. */
export class OperationCorridor extends DetachedCorridor {
  override readonly takesNoId =
    'Over a socket a session cannot get an id: log in, or begin the session, by a request over HTTP.';

  /** @param parameters what the client sent along when it opened the connection, instead of headers */
  constructor(
    known: KnownSessions,
    private readonly connection: OpenConnection,
    parameters?: unknown,
  ) {
    super(known, new ConnectionRequest(connection.request, parameters), connection.arrivedAt);
  }

  /**
   * Whether a session of this connection still lives; if so, what it is called by now is known from then
   * on. Nothing of it counts as activity.
   */
  async isAlive(lane: SessionLane): Promise<boolean> {
    if (!this.connection.sessions.has(lane.parts)) return false;
    const session = this.#reopened(lane);
    const state = LiveSession.stateOf(session);
    state.passive = true;
    state.onStoreFailure = 'reject';
    await session.load();
    return this.#remember(lane, session);
  }

  /** @throws SessionCsrfError (`SESSION_CSRF_REFUSED`) if a page of another site has opened the connection */
  protected override async openLane(lane: SessionLane, traits: MessageTraits): Promise<void> {
    this.#mustBeOurs(lane);
    if (this.connection.sessions.has(lane.parts)) lane.continueWith(this.#reopened(lane));
    const { session } = lane;
    const state = LiveSession.stateOf(session);
    state.passive = traits.passive;
    if (traits.onStoreFailure) state.onStoreFailure = traits.onStoreFailure;
    await session.load();
    this.#remember(lane, session);
  }

  /** Under the id that it had when it was last seen: wherever it has gone since, it is followed. */
  #reopened({ parts, client }: SessionLane): LiveSession {
    const { id, principal, device } = this.connection.sessions.get(parts) as ConnectedSession;
    const connected = { principal };
    // What proves a device over HTTP is proven again and again, and a connection cannot be told of it.
    const proves: RequestingClient['proves'] =
      client.proves && ((asked) => asked.id === device || client.proves?.(asked) === true);
    return parts.manager.open([parts.manager.tokenOf(id)], { ...client, connected, proves });
  }

  #remember({ parts }: SessionLane, session: LiveSession): boolean {
    const { record, storedId: id, outage } = LiveSession.stateOf(session);
    if (!record || id === undefined || outage) return false;
    const { principal } = record.header.identity ?? {};
    const device = session.device === 'proven' ? record.header.device?.id : undefined;
    this.connection.sessions.set(parts, { id, principal, device });
    return true;
  }

  /** Browsers let every page open a connection to every host, and send cookies along; CORS does not count. */
  #mustBeOurs(lane: SessionLane): void {
    const { request } = this.connection;
    const { manager, csrf } = lane.parts;
    const source = {
      site: request.header('sec-fetch-site'),
      origin: request.header('origin'),
      own: request.origin,
    };
    if (!isForeignHandshake(source, csrf)) return;
    if (lane.isExplicit && !this.hasTokensBeside(lane)) return;
    manager.rejected('csrf');
    throw new SessionCsrfError(
      'A page of another site has opened the connection: open it from a page of this origin, or name ' +
        'its origin in the option "csrf.origins".',
    );
  }
}

/** Of a message from another service of the application, which names the session. */
export class ReferredCorridor extends DetachedCorridor {
  override readonly takesNoId =
    'A service that was told of a session cannot give it a new id, nor begin one: only a request of its client can.';

  constructor(
    known: KnownSessions,
    private readonly reference: string | undefined,
  ) {
    super(known, NO_REQUEST);
  }

  protected override async openLane(lane: SessionLane, traits: MessageTraits): Promise<void> {
    const { manager } = lane.parts;
    const { onStoreFailure } = traits;
    lane.continueWith(
      await manager.openReference(
        this.reference,
        { ...lane.client, proves: undefined },
        onStoreFailure,
      ),
    );
  }
}

const NO_REQUEST: IncomingRequest = {
  method: 'GET',
  origin: undefined,
  secure: false,
  address: undefined,
  header: () => undefined,
};
