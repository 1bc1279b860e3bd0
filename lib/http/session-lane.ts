import { LiveSession } from '../core/live-session.js';
import type { RequestingClient } from '../core/session-binding.js';
import type {
  SessionIdTransport,
  TransportResponse,
} from '../core/session-id-transport.interface.js';
import type { SessionManager } from '../core/session-manager.js';
import type { MigrationVisit, SessionMigration } from '../core/session-migration.interface.js';
import { countOf } from '../core/session-record.js';
import {
  SessionDeviceError,
  SessionDeviceSkippedError,
  SessionStoreUnavailableError,
  SessionUnavailableError,
  type SessionError,
} from '../core/session.errors.js';
import type { SessionState } from '../core/session-state.js';
import type { SessionPolicy } from '../options/session-module.options.js';
import type { CsrfRules } from '../security/csrf.js';
import { clientOfRequest, traitsOfRequest } from './client-of-request.js';
import { CookieTransport } from './cookie.transport.js';
import type { DeviceSessions } from './device-sessions.js';
import type { IncomingRequest } from './raw-transport-request.js';
import { SessionAccounts } from './session-accounts.js';

/** How far a request has come. */
export interface RequestCourse {
  /** When its first byte was read, in milliseconds since the epoch. */
  readonly arrivedAt: number;
  /** Nothing can be told its client any more. */
  readonly answered: boolean;
  /** Its client cannot be handed an id: why, and what to do instead. */
  readonly takesNoId?: string | undefined;
}

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
  /** Binds sessions to devices; `undefined`: they are bound to none. */
  readonly devices?: DeviceSessions | undefined;
  /** Sessions that another library began; `undefined`: there are none. */
  readonly migration?: SessionMigration | undefined;
  readonly csrf: CsrfRules;
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
  /** Something came as a token. */
  #isPresented = false;
  #accounts: SessionAccounts | undefined;
  /** What becomes of the session of another library. */
  #visit: MigrationVisit | undefined;
  #failed = false;
  #passed: readonly object[] = [];
  /** The session ends with the answer, whatever way it is given. */
  logout: { readonly clearSiteData?: string | undefined } | undefined;
  /** The page has to ask for itself once more: then the browser proves its device. */
  asksAgain = false;
  /** An outage that the session does not know of, met by `SessionService`. */
  unavailable = false;

  constructor(
    readonly parts: SessionLaneParts,
    private readonly request: IncomingRequest,
    private readonly course: RequestCourse,
  ) {
    this.#arrivedBy = parts.transports[0] as SessionIdTransport;
  }

  /** The session. No I/O. */
  get session(): LiveSession {
    return (this.#session ??= this.#visited(this.#open()));
  }

  /**
   * The accounts of this browser. No I/O.
   *
   * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) where its cookies cannot be changed
   */
  get accounts(): SessionAccounts {
    const { takesNoId } = this.course;
    if (takesNoId !== undefined) throw new SessionUnavailableError(takesNoId);
    return (this.#accounts ??= new SessionAccounts(this.parts, this.request, this));
  }

  /** What is known about the session, if anybody has asked for it. */
  get state(): SessionState | undefined {
    return this.#session && LiveSession.stateOf(this.#session);
  }

  /** The token came in a way that no other site can make a browser go, or there is no other way. No I/O. */
  get isExplicit(): boolean {
    const { transports, parking } = this.parts;
    void this.session;
    if (this.#isPresented) return this.#arrivedBy.explicit === true;
    return !parking && !this.#visit?.brings && transports.every(({ explicit }) => explicit);
  }

  get isLoading(): boolean {
    const { state } = this;
    return state !== undefined && !state.loaded && state.loading !== undefined;
  }

  /** Who asks. */
  get client(): RequestingClient {
    const { request, course } = this;
    const { devices } = this.parts;
    return {
      describe: () => clientOfRequest(request),
      traits: () => traitsOfRequest(request),
      arrivedAt: course.arrivedAt,
      isAnswered: () => course.answered,
      takesNoId: course.takesNoId,
      proves: devices && ((device) => devices.proves(request, device)),
    };
  }

  /** True if nothing has to be written before the headers leave. */
  get settled(): boolean {
    const { state } = this;
    if (this.logout && !this.#failed) return false;
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
    state.copies.consistency = 'strong';
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
    try {
      if (this.logout) await this.session.destroy();
      // What it would write is given up, unless somebody relies on it.
      if (this.state?.outage === 'anonymous' && mayGoOnWithout(this.state)) return;
      await this.#session?.save();
    } catch (error) {
      const { state, logout } = this;
      if (
        !logout &&
        state &&
        mayGoOnWithout(state) &&
        error instanceof SessionStoreUnavailableError
      ) {
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
    const { clearSiteData } = this.logout ?? {};
    if (clearSiteData !== undefined && !failed) response.replace('Clear-Site-Data', clearSiteData);
    // What is parked follows from what was stored: nothing is told of what was not.
    const parked = (!failed && this.#accounts?.answer(response)) || false;
    if (!state) return parked;
    const visited = !failed && this.#visit?.answer(state, response);
    // So that no other node serves an older copy to who has written this.
    if (state.tokenChange === 'keep' && this.#hasWrittenMore(state)) state.tokenChange = 'set';
    const carried = this.#carried(state);
    // What it carries is all that there is: it is told of every change, and of nothing else.
    if (state.carriage && state.tokenChange !== 'clear')
      state.tokenChange = carried === undefined ? 'keep' : 'set';
    if (state.tokenChange === 'keep') return parked || visited === true;
    // What was stored before the failure has an id that the client must get; in an outage it keeps its own.
    const isOutage = state.unavailable && !state.unconfirmed;
    if (failed && (isOutage || state.tokenChange !== 'set' || !state.record)) return parked;
    if (state.tokenChange === 'clear') {
      this.#arrivedBy.clear(this.request, response);
      this.parts.devices?.clear(this.request, response);
    } else {
      const token = carried ?? this.#tokenOf(state);
      const { absoluteEnd, nextIsLasting } = state;
      this.#arrivedBy.write(this.request, response, token, absoluteEnd, nextIsLasting);
      this.#offerBinding(state, response);
    }
    return true;
  }

  #tokenOf({ copies: { seen, told }, record, storedId }: SessionState): string {
    const { manager } = this.parts;
    // It may have been led to another id, whose versions are its own.
    const newest = record ? countOf(record.version) : seen;
    return manager.tokenOf(storedId as string, manager.keepsCopies ? newest : told);
  }

  /** What its client is to carry from now on; `undefined`: nothing new, or a store keeps it. */
  #carried(state: SessionState): string | undefined {
    const { carriage, record } = state;
    return carriage && record && carriage.tokenOf(state.storedHandle);
  }

  /**
   * Whoever comes by a link from elsewhere is not taken for a thief, nor for nobody.
   *
   * @throws SessionDeviceSkippedError (`SESSION_DEVICE_SKIPPED`) where the browser has yet to prove its device
   */
  welcome(state: SessionState): void {
    const arrives = this.parts.devices?.isArrival(this.request) ?? false;
    if (!arrives || state.device !== 'unproven') return;
    this.unavailable = this.asksAgain = true;
    throw new SessionDeviceSkippedError();
  }

  /** Why the request is refused if its session is bound to a device that it does not prove. */
  refuseDevice(state: SessionState): SessionError {
    this.parts.manager.refuseDevice(state);
    const refusal = this.parts.devices?.refusalOf(this.request) ?? new SessionDeviceError();
    // Neither is the session known to be lost, nor is anything to be told of its token.
    if (!(refusal instanceof SessionDeviceError)) this.unavailable = true;
    return refusal;
  }

  /** With a login only: later it may be a thief who would bind the session to a device of theirs. */
  #offerBinding({ record, seed, openedAt }: SessionState, response: TransportResponse): void {
    const { devices } = this.parts;
    const { identity, device } = record?.header ?? {};
    if (!devices || !identity || device || seed === undefined) return;
    if (identity.authenticatedAt < openedAt || !(this.#arrivedBy instanceof CookieTransport))
      return;
    devices.offer(this.request, response, seed);
  }

  #hasWrittenMore({ copies, record, storedId }: SessionState): boolean {
    if (!this.parts.manager.keepsCopies || !record || storedId === undefined) return false;
    return copies.seen !== copies.told;
  }

  #open(): LiveSession {
    for (const transport of this.parts.transports) {
      const tokens = transport.read(this.request);
      if (tokens.length === 0) continue;
      this.#arrivedBy = transport;
      this.#isPresented = true;
      return this.#openWith(tokens);
    }
    return this.#openWith([]);
  }

  /** A session that its browser may have in another library as well. */
  #visited(session: LiveSession): LiveSession {
    const { migration } = this.parts;
    if (!(this.#arrivedBy instanceof CookieTransport)) return session;
    this.#visit = migration?.visit(this.request, session);
    return this.#visit?.session ?? session;
  }

  #openWith(tokens: readonly string[]): LiveSession {
    const { manager } = this.parts;
    const session = manager.open(tokens, this.client);
    const isRequest = this.course.takesNoId === undefined;
    if (manager.keepsCopies && isRequest && isSafe(this.request.method)) {
      LiveSession.stateOf(session).copies.consistency = 'near';
    }
    return session;
  }
}

/** Whether what was changed may be lost: nobody relies on it, and the store does not answer. */
function mayGoOnWithout({ onStoreFailure, record, renewal, destroyed }: SessionState): boolean {
  return onStoreFailure === 'anonymous' && !record && !renewal && !destroyed;
}

/** What changes nothing by its method (RFC 9110, section 9.2.1). */
const isSafe = (method: string): boolean => method === 'GET' || method === 'HEAD';
