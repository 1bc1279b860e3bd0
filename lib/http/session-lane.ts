import { LiveSession } from '../core/live-session.js';
import type {
  SessionIdTransport,
  TransportRequest,
  TransportResponse,
} from '../core/session-id-transport.interface.js';
import type { SessionManager } from '../core/session-manager.js';
import { SessionStoreUnavailableError } from '../core/session.errors.js';
import type { SessionState } from '../core/session-state.js';
import type { SessionPolicy } from '../options/session-module.options.js';
import { clientOfRequest, traitsOfRequest } from './client-of-request.js';
import { SessionAccounts } from './session-accounts.js';

/** What the sessions of one name have in common: an application may have several names. */
export interface SessionLaneParts {
  /** `undefined` for the sessions of `forRoot`. */
  readonly name?: string | undefined;
  readonly manager: SessionManager;
  readonly transports: readonly SessionIdTransport[];
  /** By what its tokens travel: no other lane may take the same way. */
  readonly channels: readonly (string | object)[];
  /** Where the tokens of accounts that are not in use are kept; `undefined`: there is one account. */
  readonly parking?: { readonly transport: SessionIdTransport; readonly max: number } | undefined;
  readonly assurance: (factors: readonly string[]) => number;
  readonly policy: SessionPolicy | undefined;
}

/**
 * One session of one request: the token is read when the session is first asked for, the session is
 * committed once before the headers leave, the token goes back.
 */
export class SessionLane {
  #session: LiveSession | undefined;
  #arrivedBy: SessionIdTransport;
  #accounts: SessionAccounts | undefined;
  #failed = false;
  #passed: readonly object[] = [];
  /** An outage that the session does not know of, met by `SessionService`. */
  unavailable = false;

  constructor(
    readonly parts: SessionLaneParts,
    private readonly request: TransportRequest,
  ) {
    this.#arrivedBy = parts.transports[0] as SessionIdTransport;
  }

  /** The session. No I/O. */
  get session(): LiveSession {
    return (this.#session ??= this.#open());
  }

  /** The accounts of this browser. No I/O. */
  get accounts(): SessionAccounts {
    return (this.#accounts ??= new SessionAccounts(this.parts, this.request, this));
  }

  /** What is known about the session, if anybody has asked for it. */
  get state(): SessionState | undefined {
    return this.#session && LiveSession.stateOf(this.#session);
  }

  get isLoading(): boolean {
    const { state } = this;
    return state !== undefined && !state.loaded && state.loading !== undefined;
  }

  /** True if nothing has to be written before the headers leave. */
  get settled(): boolean {
    const { state } = this;
    return !state || this.#failed || (!state.mayNeedCommit && !this.isLoading);
  }

  /** Whether {@link passed} was last told the same: a guard, and to what it let this request pass. */
  hasPassed(...what: readonly object[]): boolean {
    return what.every((one, i) => one === this.#passed[i]);
  }

  passed(...what: readonly object[]): void {
    this.#passed = what;
  }

  /** A session of this browser that is not the one in use. No I/O. */
  open(tokens: readonly string[]): LiveSession {
    const session = this.#openWith(tokens);
    const state = LiveSession.stateOf(session);
    state.tokenChange = tokens.length > 0 ? 'set' : 'clear';
    // What is not known of an account must not be taken for its end.
    state.onStoreFailure = 'reject';
    return session;
  }

  /** Goes on with another session; what still holds the one before can do nothing with it. */
  continueWith(session: LiveSession): void {
    if (this.state) this.state.ended = true;
    this.#passed = [];
    this.#session = session;
  }

  /** Writes what the request changed. A failure is final: the end of the request does not try again. */
  async commit(): Promise<void> {
    const { state } = this;
    // What it would write is given up, unless somebody relies on it.
    if (state?.outage === 'anonymous' && state.mayGoOnWithout) return;
    try {
      await this.#session?.save();
    } catch (error) {
      if (state?.mayGoOnWithout && error instanceof SessionStoreUnavailableError) {
        state.goOn('anonymous');
        state.unavailable = false;
        return;
      }
      this.#failed = true;
      throw error;
    }
  }

  /** Tells the client what became of its token; `true` if anything. */
  answer(response: TransportResponse): boolean {
    const { state } = this;
    const failed = this.#failed || state?.abandoned || state?.unavailable;
    // What is parked follows from what was stored: nothing is told of what was not.
    const parked = (!failed && this.#accounts?.answer(response)) || false;
    if (!state || state.tokenChange === 'keep') return parked;
    // What was stored before the failure has an id that the client must get; in an outage it keeps its own.
    const isOutage = state.unavailable && !state.unconfirmed;
    if (failed && (isOutage || state.tokenChange !== 'set' || !state.record)) return parked;
    if (state.tokenChange === 'clear') this.#arrivedBy.clear(this.request, response);
    else {
      const token = this.parts.manager.tokenOf(state.storedId as string);
      const { absoluteEnd, nextIsLasting } = state;
      this.#arrivedBy.write(this.request, response, token, absoluteEnd, nextIsLasting);
    }
    return true;
  }

  #open(): LiveSession {
    for (const transport of this.parts.transports) {
      const tokens = transport.read(this.request);
      if (tokens.length === 0) continue;
      this.#arrivedBy = transport;
      return this.#openWith(tokens);
    }
    return this.#openWith([]);
  }

  #openWith(tokens: readonly string[]): LiveSession {
    const { request } = this;
    return this.parts.manager.open(tokens, {
      describe: () => clientOfRequest(request),
      traits: () => traitsOfRequest(request),
    });
  }
}
