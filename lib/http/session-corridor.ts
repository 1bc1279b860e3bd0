import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import type {
  SessionIdTransport,
  TransportRequest,
  TransportResponse,
} from '../core/session-id-transport.interface.js';
import { LiveSession } from '../core/live-session.js';
import type { SessionManager } from '../core/session-manager.js';
import type { SessionState } from '../core/session-state.js';
import { RETRY_AFTER } from './session-http.exception.js';

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

/**
 * The corridor of the request in whose course this runs; with a manager, only if it is of the
 * same application: a process may run several.
 */
export function currentCorridor(manager?: SessionManager): SessionCorridor | undefined {
  const corridor = current.getStore();
  return manager === undefined || corridor?.manager === manager ? corridor : undefined;
}

/** Runs what follows in a request inside its corridor. */
export function enterCorridor(raw: object, corridor: SessionCorridor, next: () => void): void {
  (raw as RawRequest)[CORRIDOR] = corridor;
  current.run(corridor, next);
}

/**
 * What stands between one request and its session: the token is read when the session is first
 * asked for, the session is committed once before the headers leave, the token goes back.
 */
export class SessionCorridor {
  #session: LiveSession | undefined;
  #arrivedBy: SessionIdTransport;
  #failed = false;
  /** The answer waits for the commit. */
  committing = false;
  /** The route has no session: nothing is written, nothing is sent. */
  skipped = false;
  /** An outage that the session does not know of, met by `SessionService`. */
  unavailable = false;
  /** Pending while an asynchronous handler of an event stream may still change the session. */
  handling: Promise<void> | undefined;
  /** Done: commit and answer happen once. */
  answered = false;

  constructor(
    readonly manager: SessionManager,
    private readonly transports: readonly SessionIdTransport[],
    private readonly request: TransportRequest,
  ) {
    this.#arrivedBy = transports[0] as SessionIdTransport;
  }

  /** The session of this request. No I/O. */
  get session(): LiveSession {
    return (this.#session ??= this.#open());
  }

  /** What is known about the session, if anybody has asked for it. */
  get state(): SessionState | undefined {
    return this.#session && LiveSession.stateOf(this.#session);
  }

  /** True if nothing has to be written before the headers leave. */
  get settled(): boolean {
    const { state } = this;
    if (!state || this.#failed || this.skipped) return true;
    return !state.mayNeedCommit && !isLoading(state) && !this.handling;
  }

  /** Writes what the request changed. A failure is final: the end of the request does not try again. */
  async commit(): Promise<void> {
    this.committing = true;
    try {
      if (this.state && isLoading(this.state)) await this.#handlerStarted(this.state);
      if (this.handling) await Promise.race([this.handling, patience()]);
      await this.#session?.save();
    } catch (error) {
      this.#failed = true;
      throw error;
    } finally {
      this.committing = false;
    }
  }

  /** Tells the client what became of its token; at most once. */
  answer(response: TransportResponse): void {
    if (this.answered) return;
    this.answered = true;
    const { state } = this;
    if (this.unavailable || state?.unavailable) response.replace('Retry-After', RETRY_AFTER);
    if (!state || this.skipped || state.tokenChange === 'keep') return;
    const failed = this.#failed || state.abandoned;
    // What was stored before the failure has an id that the client must get; in an outage it keeps its own.
    if (failed && (state.unavailable || state.tokenChange !== 'set' || !state.record)) return;
    if (state.tokenChange === 'clear') this.#arrivedBy.clear(this.request, response);
    else {
      const token = this.manager.tokenOf(state.storedId as string);
      this.#arrivedBy.write(this.request, response, token, state.absoluteEnd);
    }
    // A cache that kept this answer would hand the session to somebody else (CVE-2023-30861).
    if (!/\bprivate\b|\bno-store\b/i.test(String(response.header('cache-control') ?? ''))) {
      response.replace('Cache-Control', 'no-store');
    }
  }

  /** What `console.log(request)` shows of it. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return 'SessionCorridor';
  }

  /**
   * Nest sends the headers of an event stream while the session that its handler asked for is still
   * being read: they wait until the handler has run.
   */
  async #handlerStarted(state: SessionState): Promise<void> {
    await state.loading;
    await new Promise(setImmediate);
  }

  #open(): LiveSession {
    for (const transport of this.transports) {
      const tokens = transport.read(this.request);
      if (tokens.length === 0) continue;
      this.#arrivedBy = transport;
      return this.manager.open(tokens);
    }
    return this.manager.open([]);
  }
}

/** Milliseconds that the headers of an event stream wait at most for its handler. */
const HANDLER_PATIENCE = 1_000;
const patience = () => delay(HANDLER_PATIENCE, undefined, { ref: false });

const isLoading = (state: SessionState): boolean => !state.loaded && state.loading !== undefined;
