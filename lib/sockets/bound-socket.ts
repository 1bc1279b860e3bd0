import { Logger } from '@nestjs/common';
import { finalize, isObservable, Observable } from 'rxjs';
import { LiveSession } from '../core/live-session.js';
import type { SessionEventReason } from '../core/session.events.js';
import { SessionRequiredError } from '../core/session.errors.js';
import type { SessionState } from '../core/session-state.js';
import type { SessionEvents } from '../events/session-events.js';
import type { IncomingRequest } from '../http/raw-transport-request.js';
import {
  insideCorridor,
  type KnownSessions,
  type SessionCorridor,
} from '../http/session-corridor.js';
import type { SessionLane, SessionLaneParts } from '../http/session-lane.js';
import { GatewayCorridor } from './gateway-corridor.js';

/** Why a socket is closed: what ended its session, or `'ended'` if that was only found out. */
export type SocketEndReason = SessionEventReason | 'ended';

/** A socket, whatever platform it is of. */
export interface SocketFace {
  /** What the application knows it as. */
  readonly client: object;
  emit(event: string, data: unknown): void;
  /** Closes it, since its session is over. */
  end(reason: SocketEndReason): void;
  /** Closes it, since this node goes down. */
  leave(): void;
}

/** A session that a socket was opened with. */
interface BoundSession {
  readonly parts: SessionLaneParts;
  /** Whose it is; with anybody else's the socket does not go on. */
  readonly principal: string | undefined;
  /** The same, unless the client has yet to prove that it is theirs. */
  readonly proven: string | undefined;
  /** The device that was proven with the handshake: the cookie that did so does not last. */
  readonly device: string | undefined;
  /** As it is now. It is renewed over HTTP, where nobody tells this connection. */
  id: string;
}

/** What goes on around sockets. */
export interface SocketSurroundings {
  readonly known: KnownSessions;
  readonly events: SessionEvents;
  attached(socket: BoundSocket): void;
  released(socket: BoundSocket): void;
  /** Something is being worked on that is to be finished before this node goes down. */
  began(work: Promise<void>): void;
}

/** Milliseconds that a handler has for its work after the client has left. */
const PATIENCE = 10_000;

const logger = new Logger('SessionSockets');

/** A socket and the sessions that it was opened with: it ends with the first of them that does. */
export class BoundSocket {
  readonly #sessions: BoundSession[] = [];
  readonly #following: (() => void)[] = [];
  #moving: Promise<void> | undefined;
  #face: SocketFace | undefined;
  #ended: SocketEndReason | undefined;
  #isReleased = false;

  constructor(
    readonly handshake: IncomingRequest,
    private readonly around: SocketSurroundings,
  ) {}

  /** The application's socket, while it is open. */
  get face(): SocketFace | undefined {
    return this.#face;
  }

  /** Who has proven whose session it is, by the name of the sessions. */
  get principals(): { name: string | undefined; principal: string }[] {
    return this.#sessions.flatMap(({ parts: { name }, proven: principal }) =>
      principal === undefined ? [] : [{ name, principal }],
    );
  }

  /** The socket goes on as long as this session does. At once: what happens from now on is heard. */
  bind({ parts }: SessionLane, session: LiveSession, state: SessionState): void {
    const { record, storedHandle, identity } = state;
    const bound: BoundSession = {
      parts,
      principal: identity?.principal,
      proven: session.binding.reauthenticate ? undefined : session.principal,
      device: state.device === 'proven' ? record?.header.device?.id : undefined,
      id: state.storedId as string,
    };
    this.#sessions.push(bound);
    const { events } = this.around;
    if (!events.on || this.#isReleased) return;
    const stop = events.follow(storedHandle, {
      principal: bound.principal,
      onMoved: () => this.#follow(bound),
      onEnd: ({ reason }) => this.end(reason ?? 'ended'),
    });
    this.#following.push(stop);
  }

  /** The connection stands. */
  attach(face: SocketFace): void {
    if (this.#isReleased) return face.end(this.#ended ?? 'ended');
    this.#face = face;
    this.around.attached(this);
  }

  /** One of its sessions is over. */
  end(reason: SocketEndReason): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    const face = this.#face;
    this.release();
    face?.end(reason);
  }

  /** This node goes down. */
  leave(): void {
    const face = this.#face;
    this.release();
    face?.leave();
  }

  /** The connection is gone, or never came about. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    for (const stop of this.#following) stop();
    this.around.released(this);
    this.#face = undefined;
  }

  /**
   * Handles a message in a corridor of its own, over the sessions as they are now.
   *
   * @param toException an error as the platform tells its clients of it
   */
  async handle(call: () => unknown, toException: (error: unknown) => unknown): Promise<unknown> {
    // What was sent before the client heard of the end.
    if (this.#isReleased) return undefined;
    if (this.#moving) await this.#moving;
    const corridor = this.#corridor(toException);
    const result = await insideCorridor(corridor, async () => call());
    if (isObservable(result)) return this.#streamed(corridor, result);
    // It was refused before anything else that would have stored what was changed.
    if (!corridor.settled) await corridor.commit().catch((error: unknown) => logger.error(error));
    this.#settle(corridor);
    return result;
  }

  /** Nest's adapters subscribe outside, where nobody would know of the corridor. */
  #streamed(corridor: SessionCorridor, result: Observable<unknown>): Observable<unknown> {
    return new Observable((to) => {
      let isUnderWay = true;
      let done!: () => void;
      this.around.began(new Promise<void>((resolve) => (done = resolve)));
      const proceed = () => {
        isUnderWay = false;
        done();
      };
      const settled = result.pipe(finalize(() => this.#settle(corridor)));
      const inner = insideCorridor(corridor, () =>
        settled.subscribe({
          next: (value) => {
            to.next(value);
            // What goes on after that is a stream, for which nobody waits.
            proceed();
          },
          error: (error: unknown) => {
            proceed();
            to.error(error);
          },
          complete: () => {
            proceed();
            to.complete();
          },
        }),
      );
      return () => {
        if (!isUnderWay) return inner.unsubscribe();
        // Whoever sent the message may leave before it is handled: what that changes is stored all the same.
        setTimeout(() => {
          inner.unsubscribe();
          proceed();
        }, PATIENCE).unref();
      };
    });
  }

  #corridor(toException: (error: unknown) => unknown): SessionCorridor {
    return new GatewayCorridor(this.around.known, this.handshake, {
      open: (lane) => this.#open(lane),
      verify: ({ parts }, state) => this.#verify(parts, state),
      toException,
    });
  }

  #open({ parts: { manager }, parts, client }: SessionLane): LiveSession {
    const bound = this.#sessions.find((one) => one.parts === parts);
    const { proves } = client;
    return manager.open(bound ? [manager.tokenOf(bound.id)] : [], {
      ...client,
      connected: { principal: bound?.principal },
      proves: proves && ((device) => device.id === bound?.device || proves(device)),
    });
  }

  /** Whoever was let in as somebody is not to go on as nobody, and not notice. */
  #verify(parts: SessionLaneParts, { record, destroyed, outage }: SessionState): void {
    const isBound = this.#sessions.some((one) => one.parts === parts);
    if (!isBound || record || destroyed || outage) return;
    throw new SessionRequiredError(
      'The session of this socket is over: log in, and open another socket.',
    );
  }

  /** What a message has found out about the sessions. */
  #settle(corridor: SessionCorridor): void {
    for (const bound of this.#sessions) {
      const { state } = corridor.lane(bound.parts.name);
      if (!state?.loaded || state.outage) continue;
      if (!state.record) return this.end(state.destroyed ? 'logout' : 'ended');
      const hasMoved = state.storedHandle !== state.presentedHandle;
      if (hasMoved) bound.id = state.storedId as string;
    }
  }

  /** A session has got another id, to which the one before leads for a while only. */
  #follow(bound: BoundSession): void {
    const before = this.#moving;
    const moving = this.#refresh(bound, before)
      // The next message finds the way by itself.
      .catch(() => undefined)
      .finally(() => {
        if (this.#moving === moving) this.#moving = undefined;
      });
    this.#moving = moving;
  }

  async #refresh({ parts }: BoundSession, before: Promise<void> | undefined): Promise<void> {
    await before;
    const corridor = this.#corridor((error) => error);
    const { session } = corridor.lane(parts.name);
    const state = LiveSession.stateOf(session);
    state.passive = true;
    state.onStoreFailure = 'reject';
    await session.load();
    this.#settle(corridor);
  }
}
