import { AsyncLocalStorage } from 'node:async_hooks';
import type {
  SessionIdTransport,
  TransportRequest,
  TransportResponse,
} from '../core/session-id-transport.interface.js';
import { LiveSession } from '../core/live-session.js';
import type { SessionManager } from '../core/session-manager.js';
import type { SessionState } from '../core/session-state.js';
import { RETRY_AFTER } from './session-http.exception.js';

/** The request of an adapter, and the raw request of Node that it may wrap. */
interface RequestLike {
  readonly raw?: object;
}

const corridors = new WeakMap<object, SessionCorridor>();
const current = new AsyncLocalStorage<SessionCorridor>();

/** The corridor of a request of either adapter, `undefined` where there is none. */
export function corridorOf(request: object): SessionCorridor | undefined {
  return corridors.get((request as RequestLike).raw ?? request);
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
  corridors.set(raw, corridor);
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
    return !state || this.#failed || this.skipped || (!state.mayNeedCommit && !isLoading(state));
  }

  /** Writes what the request changed. A failure is final: no cookie is set or cleared then. */
  async commit(): Promise<void> {
    this.committing = true;
    try {
      if (this.state && isLoading(this.state)) await this.#handlerStarted(this.state);
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
    if (state?.unavailable) response.replace('Retry-After', RETRY_AFTER);
    if (!state || this.#failed || state.abandoned || this.skipped) return;
    if (state.tokenChange === 'keep') return;
    if (state.tokenChange === 'clear') this.#arrivedBy.clear(this.request, response);
    else {
      const token = this.manager.tokenOf(state.id as string);
      this.#arrivedBy.write(this.request, response, token, state.absoluteEnd);
    }
    // A cache that kept this answer would hand the session to somebody else (CVE-2023-30861).
    if (!/\bprivate\b|\bno-store\b/i.test(String(response.header('cache-control') ?? ''))) {
      response.replace('Cache-Control', 'no-store');
    }
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

const isLoading = (state: SessionState): boolean => !state.loaded && state.loading !== undefined;
