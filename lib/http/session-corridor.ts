import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import type { TransportResponse } from '../core/session-id-transport.interface.js';
import type { LiveSession } from '../core/live-session.js';
import type { SessionManager } from '../core/session-manager.js';
import type { SessionState } from '../core/session-state.js';
import { SessionUnavailableError } from '../core/session.errors.js';
import type { IncomingRequest } from './raw-transport-request.js';
import { RETRY_AFTER, toHttpException } from './session-http.exception.js';
import { SessionLane, type RequestCourse, type SessionLaneParts } from './session-lane.js';

/** On the raw request itself: a WeakMap costs every collection of garbage, 20 µs a request under load. */
const CORRIDOR = Symbol('session corridor');
/** The request of an adapter, and the raw request of Node that it may wrap. */
interface RequestLike {
  readonly raw?: object;
}

interface RawRequest {
  [CORRIDOR]?: SessionCorridor;
}

const current = new AsyncLocalStorage<SessionCorridor>();

/** The corridor of a request of either adapter, `undefined` where there is none. */
export function corridorOf(request: object): SessionCorridor | undefined {
  return (((request as RequestLike).raw ?? request) as RawRequest)[CORRIDOR];
}

/** The corridor of the request in whose course this runs. */
export const currentCorridor = (): SessionCorridor | undefined => current.getStore();

/** Runs what follows in a request inside its corridor. */
export function enterCorridor(raw: object, corridor: SessionCorridor, next: () => void): void {
  (raw as RawRequest)[CORRIDOR] = corridor;
  current.run(corridor, next);
}

/** Runs what is no request of its own inside a corridor. */
export const insideCorridor = <T>(corridor: SessionCorridor, run: () => T): T =>
  current.run(corridor, run);

/** The sessions that an application knows: that of `forRoot`, and those of `forFeature` by their names. */
export interface KnownSessions {
  readonly main: SessionLaneParts;
  readonly named: ReadonlyMap<string, SessionLaneParts>;
}

/**
 * What stands between one request and its session, or sessions: nothing of the answer leaves before all
 * of them are stored, and what the client is told of its tokens is told once.
 */
export class SessionCorridor implements RequestCourse {
  /** The session of `forRoot`. */
  readonly main: SessionLane;
  #others: SessionLane[] | undefined;
  #failed = false;
  /** The answer waits for the commit. */
  committing = false;
  /** The route has no session: nothing is written, nothing is sent. */
  skipped = false;
  /** Pending while an asynchronous handler of an event stream may still change the session. */
  handling: Promise<void> | undefined;
  /** What a refusal asks for, as in RFC 9110, section 11.6.1. */
  challenge: string | undefined;
  /** Its client cannot be handed an id: why, and what to do instead. */
  readonly takesNoId: string | undefined = undefined;
  /** Done: commit and answer happen once. */
  answered = false;

  constructor(
    private readonly known: KnownSessions,
    readonly request: IncomingRequest,
    readonly arrivedAt: number = known.main.manager.now(),
  ) {
    this.main = new SessionLane(known.main, request, this);
  }

  /** The session of a name. No I/O. */
  lane(name: string | undefined): SessionLane {
    if (name === undefined) return this.main;
    const parts = this.known.named.get(name);
    if (!parts) {
      throw new SessionUnavailableError(
        `There are no sessions named "${name}": import SessionModule.forFeature('${name}', …).`,
      );
    }
    return this.#laneOf(parts);
  }

  /** The session of a manager, if it is of this application: a process may run several. */
  laneOf(manager: SessionManager): SessionLane | undefined {
    if (this.main.parts.manager === manager) return this.main;
    const parts = [...this.known.named.values()].find((one) => one.manager === manager);
    return parts && this.#laneOf(parts);
  }

  /** The session of `forRoot`. No I/O. */
  get session(): LiveSession {
    return this.main.session;
  }

  /** Whether the browser has sent tokens of other sessions by itself: a handler may use any. No I/O. */
  hasTokensBeside(lane: SessionLane): boolean {
    const all = [this.known.main, ...this.known.named.values()];
    const others = all.filter((one) => one !== lane.parts);
    const ambient = others.flatMap(({ transports, parking }) => [
      ...transports.filter(({ explicit }) => !explicit),
      ...(parking ? [parking.transport] : []),
    ]);
    return ambient.some((transport) => transport.read(this.request).length > 0);
  }

  /** An error as the client is told of it. */
  exceptionOf(error: unknown): unknown {
    return toHttpException(error);
  }

  /** What is known about it, if anybody has asked for it. */
  get state(): SessionState | undefined {
    return this.main.state;
  }

  /** True if nothing has to be written before the headers leave. */
  get settled(): boolean {
    if (this.#failed || this.skipped) return true;
    return this.main.settled && !this.handling && this.#othersSettled;
  }

  /** Writes what the request changed. A failure is final: the end of the request does not try again. */
  async commit(): Promise<void> {
    this.committing = true;
    try {
      for (const lane of this.#lanes) if (lane.isLoading) await handlerStarted(lane.state);
      if (this.handling) await Promise.race([this.handling, patience()]);
      for (const lane of this.#lanes) await lane.commit();
    } catch (error) {
      this.#failed = true;
      throw error;
    } finally {
      this.committing = false;
    }
  }

  /** Tells the client what became of its tokens; at most once. */
  answer(response: TransportResponse, status: number): void {
    if (this.answered) return;
    this.answered = true;
    // Another guard may have let the request pass after all.
    if (this.challenge !== undefined && status === 401)
      response.append('WWW-Authenticate', this.challenge);
    const lanes = this.#lanes;
    if (lanes.some((lane) => lane.unavailable || lane.state?.unavailable)) {
      response.replace('Retry-After', RETRY_AFTER);
    }
    if (status === 503 && lanes.some((lane) => lane.asksAgain)) response.replace('Refresh', '0');
    if (this.skipped) return;
    let told = false;
    for (const lane of lanes) told = lane.answer(response) || told;
    if (!told) return;
    // A cache that kept this answer would hand the session to somebody else (CVE-2023-30861).
    if (!/\bprivate\b|\bno-store\b/i.test(String(response.header('cache-control') ?? ''))) {
      response.replace('Cache-Control', 'no-store');
    }
  }

  /** What `console.log(request)` shows of it. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return 'SessionCorridor';
  }

  get #lanes(): readonly SessionLane[] {
    return this.#others ? [this.main, ...this.#others] : [this.main];
  }

  get #othersSettled(): boolean {
    return this.#others === undefined || this.#others.every((lane) => lane.settled);
  }

  #laneOf(parts: SessionLaneParts): SessionLane {
    let lane = this.#others?.find((one) => one.parts === parts);
    if (!lane) (this.#others ??= []).push((lane = new SessionLane(parts, this.request, this)));
    return lane;
  }
}

/**
 * Nest sends the headers of an event stream while the session that its handler asked for is still
 * being read: they wait until the handler has run.
 */
async function handlerStarted(state: SessionState | undefined): Promise<void> {
  await state?.loading;
  await new Promise(setImmediate);
}

/** Milliseconds that the headers of an event stream wait at most for its handler. */
const HANDLER_PATIENCE = 1_000;
const patience = () => delay(HANDLER_PATIENCE, undefined, { ref: false });
