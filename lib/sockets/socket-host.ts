import {
  Inject,
  Injectable,
  Logger,
  type BeforeApplicationShutdown,
  type INestApplicationContext,
} from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import type { IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Subscription } from 'rxjs';
import { LiveSession } from '../core/live-session.js';
import type { PrincipalCall } from '../core/session-news.js';
import {
  SessionCsrfError,
  SessionOptionsError,
  SessionRequiredError,
} from '../core/session.errors.js';
import type { SessionState } from '../core/session-state.js';
import { SessionEvents } from '../events/session-events.js';
import type { IncomingRequest } from '../http/raw-transport-request.js';
import { SessionCorridor } from '../http/session-corridor.js';
import { SessionHost } from '../http/session-host.js';
import type { SessionLane } from '../http/session-lane.js';
import { isForeignHandshake } from '../security/csrf.js';
import { BoundSocket, type SocketFace, type SocketSurroundings } from './bound-socket.js';
import { keptHandshake } from './kept-handshake.js';

/** Who may open a socket. */
export interface SessionSocketOptions {
  /** Only who is logged in: others are refused with 401. @default false: guards decide, message by message */
  required?: boolean;
}

/** How often a session is read anew that changes while it is read. */
const ROUNDS = 5;
/** Milliseconds that messages have for being finished when this node goes down. */
const PATIENCE = 5_000;

/** What both platforms have in common: how a connection gets its sessions, and all that are open on this node. */
@Injectable()
export class SocketHost implements BeforeApplicationShutdown {
  readonly #logger = new Logger('SessionSockets');
  readonly #sockets = new Map<object, BoundSocket>();
  readonly #rooms = new Map<string, Set<BoundSocket>>();
  readonly #working = new Set<Promise<void>>();
  readonly #around: SocketSurroundings;
  #listening: Subscription | undefined;

  constructor(
    @Inject(SessionHost) private readonly host: SessionHost,
    @Inject(SessionEvents) private readonly events: SessionEvents,
  ) {
    this.#around = {
      known: host,
      events,
      attached: (socket) => this.#enter(socket),
      released: (socket) => this.#leave(socket),
      began: (work) => {
        this.#working.add(work);
        void work.then(() => this.#working.delete(work));
      },
    };
  }

  /**
   * The one of an application.
   *
   * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) if it has no sessions
   */
  static of(app: INestApplicationContext, adapter: string): SocketHost {
    // To ask the application for what it does not have ends the process.
    for (const { providers } of app.get(ModulesContainer, { strict: false }).values()) {
      const host = providers.get(SocketHost)?.instance as SocketHost | undefined;
      if (host) return host;
    }
    throw new SessionOptionsError([
      `${adapter} needs sessions: import SessionModule.forRoot(…) into the application that it is given`,
    ]);
  }

  /** The request that opens a socket, as the HTTP adapter would see it. */
  handshakeOf(raw: IncomingMessage, token?: string): IncomingRequest {
    return keptHandshake(this.host.readHandshake(raw), token);
  }

  /**
   * By the rules of `forRoot`, or of the sessions of another name.
   *
   * @throws SessionCsrfError (`SESSION_CSRF_REFUSED`) for the page of another origin
   */
  judge(handshake: IncomingRequest, { name, csrf, manager } = this.host.main): void {
    const source = {
      site: handshake.header('sec-fetch-site'),
      origin: handshake.header('origin'),
      own: handshake.origin,
    };
    if (!isForeignHandshake(source, csrf)) return;
    manager.rejected('csrf');
    const whose = name === undefined ? '' : ` of forFeature('${name}')`;
    throw new SessionCsrfError(
      `The handshake comes from a page of another origin: name that in the option "csrf.origins"${whose}. ` +
        'Behind a proxy, let it pass the header Host, or let the adapter trust it.',
    );
  }

  /**
   * Reads the sessions whose tokens came with a handshake. That is no activity: clients connect again by
   * themselves.
   *
   * @throws SessionCsrfError (`SESSION_CSRF_REFUSED`), SessionRequiredError (`SESSION_REQUIRED`),
   * SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`), SessionDeviceError (`SESSION_DEVICE_UNPROVEN`)
   */
  async open(
    handshake: IncomingRequest,
    { required = false }: SessionSocketOptions,
  ): Promise<BoundSocket> {
    this.judge(handshake);
    const socket = new BoundSocket(handshake, this.#around);
    const corridor = new SessionCorridor(this.host, handshake);
    const lanes = [undefined, ...this.host.named.keys()].map((name) => corridor.lane(name));
    try {
      // Each kind of session has its own friends; none is read for who is no friend of another that came along.
      for (const lane of lanes) if (stateOf(lane).presented) this.judge(handshake, lane.parts);
      await Promise.all(lanes.map((lane) => this.#bind(socket, lane)));
      if (required && socket.principals.length === 0) refuse(lanes);
      return socket;
    } catch (error) {
      socket.release();
      throw error;
    }
  }

  /** How many sockets are open on this node. */
  get count(): number {
    return this.#sockets.size;
  }

  /** The sockets of a principal that are open on this node. */
  ofPrincipal(principal: string, name?: string): SocketFace[] {
    const room = this.#rooms.get(roomOf(principal, name)) ?? [];
    return [...room].flatMap(({ face }) => face ?? []);
  }

  /** Whose an open socket is. */
  principalOf(client: object, of?: string): string | undefined {
    const principals = this.#sockets.get(client)?.principals;
    return principals?.find(({ name }) => name === of)?.principal;
  }

  /** What is under way is finished, and stored; then clients look for another node. */
  async beforeApplicationShutdown(): Promise<void> {
    const finished = Promise.all(this.#working);
    await Promise.race([finished, delay(PATIENCE, undefined, { ref: false })]);
    this.#listening?.unsubscribe();
    for (const socket of this.#sockets.values()) socket.leave();
  }

  async #bind(socket: BoundSocket, lane: SessionLane): Promise<void> {
    const { session } = lane;
    const state = stateOf(lane);
    if (!state.presented) return;
    state.passive = true;
    // An outage is over some time: a socket that knows nothing of its session would stay that way.
    state.onStoreFailure = 'reject';
    await this.#load(session, state);
    if (state.record) socket.bind(lane, session, state);
  }

  /** Reads a session, and once more if something happened to it meanwhile: of that nobody is told again. */
  async #load(session: LiveSession, state: SessionState): Promise<void> {
    const { events } = this;
    if (!events.on) return void (await session.load());
    for (let round = 0; round < ROUNDS; round++) {
      const handle = state.storedHandle;
      let isUnchanged = true;
      const hear = () => (isUnchanged = false);
      const stop = events.follow(handle, { principal: undefined, onEnd: hear, onMoved: hear });
      await (round === 0 ? session.load() : session.reload()).finally(stop);
      if (!state.record || (isUnchanged && state.storedHandle === handle)) return;
    }
  }

  #enter(socket: BoundSocket): void {
    if (this.events.on) this.#listening ??= this.events.calls$.subscribe(this.#deliver);
    this.#sockets.set((socket.face as SocketFace).client, socket);
    for (const { principal, name } of socket.principals) {
      const key = roomOf(principal, name);
      const room = this.#rooms.get(key) ?? new Set();
      this.#rooms.set(key, room.add(socket));
    }
  }

  #leave(socket: BoundSocket): void {
    if (socket.face) this.#sockets.delete(socket.face.client);
    for (const { principal, name } of socket.principals) {
      const key = roomOf(principal, name);
      const room = this.#rooms.get(key);
      room?.delete(socket);
      if (room?.size === 0) this.#rooms.delete(key);
    }
  }

  readonly #deliver = ({ principal, name, event, data }: PrincipalCall): void => {
    for (const face of this.ofPrincipal(principal, name)) {
      try {
        face.emit(event, data);
      } catch (error) {
        // Such as a name that the platform uses itself: the others are told all the same.
        this.#logger.error(error);
      }
    }
  };
}

/** Names of sessions have no spaces. */
const roomOf = (principal: string, name = ''): string => `${name} ${principal}`;

const stateOf = ({ session }: SessionLane): SessionState => LiveSession.stateOf(session);

function refuse(lanes: readonly SessionLane[]): never {
  for (const lane of lanes) {
    const { state } = lane;
    if (state?.device === 'unproven') throw lane.refuseDevice(state);
  }
  throw new SessionRequiredError();
}
