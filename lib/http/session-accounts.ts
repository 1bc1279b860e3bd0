import { LiveSession } from '../core/live-session.js';
import { handleOf, isLasting } from '../core/session-id.js';
import type {
  SessionIdTransport,
  TransportRequest,
  TransportResponse,
} from '../core/session-id-transport.interface.js';
import type { SessionManager } from '../core/session-manager.js';
import {
  SessionLimitError,
  SessionStoreUnavailableError,
  SessionUnavailableError,
} from '../core/session.errors.js';
import type { Session } from '../core/session.js';

/** One of the accounts that a browser is logged in with. */
export interface SessionAccount {
  readonly handle: string;
  readonly principal: string;
  readonly label: string | undefined;
  readonly expiresAt: number;
  /** The one in use. */
  readonly current: boolean;
}

interface Parking {
  readonly manager: SessionManager;
  readonly parking?: { readonly transport: SessionIdTransport; readonly max: number } | undefined;
}

/** Where the session in use is. */
interface Active {
  readonly session: LiveSession;
  open(tokens: readonly string[]): LiveSession;
  continueWith(session: LiveSession): void;
}

/** Between the tokens of parked sessions; stands in no token. */
const SEPARATOR = '~';

/**
 * Several accounts in one browser: one session is in use, the others are parked, their tokens in a
 * cookie of their own. Needs the option `accounts`; injected by `@Accounts()`.
 *
 * @example
 * \@Post('accounts/add') add(@Accounts() accounts: SessionAccounts) { return accounts.add(); }
 */
export class SessionAccounts {
  #ids: string[] | undefined;
  #changed = false;

  constructor(
    private readonly parts: Parking,
    private readonly request: TransportRequest,
    private readonly active: Active,
  ) {}

  /** All accounts, the one in use first. Those that ended drop out. */
  async list(): Promise<SessionAccount[]> {
    const current = await this.#current();
    const ids = this.#parked.filter((id) => handleOf(id) !== current.handle);
    const parked = await Promise.all(ids.map((id) => this.parts.manager.openById(id)));
    const ended = ids.filter((_, i) => parked[i]?.principal === undefined);
    if (ended.length > 0) this.#park(ids.filter((id) => !ended.includes(id)));
    const accounts = [current, ...parked].map((session) => accountOf(session, current));
    return accounts.filter((account) => account !== undefined);
  }

  /**
   * Parks the session in use and goes on with an empty one, for another login. Whoever still holds the
   * session before must take this one.
   *
   * @throws SessionLimitError (`SESSION_LIMIT_REACHED`) if there are as many as the option `accounts` says
   */
  async add(): Promise<Session> {
    const { max } = this.#parking;
    // Those that ended make room.
    if ((await this.list()).length >= max) throw new SessionLimitError(max);
    const next = this.active.open([]);
    const left = await this.#leave();
    return this.#continueWith(next, [...this.#parked, ...left]);
  }

  /**
   * Parks the session in use and goes on with a parked one, which is returned; `undefined` if it is not
   * there (any more).
   */
  async switch(handle: string): Promise<Session | undefined> {
    const current = await this.#current();
    const id = this.#parked.find((one) => handleOf(one) === handle);
    if (id === undefined) return isListedAs(current, handle) ? current : undefined;
    const next = await this.active.open([this.parts.manager.tokenOf(id)]).load();
    const others = this.#parked.filter((one) => one !== id);
    if (next.principal === undefined) {
      this.#park(others);
      return undefined;
    }
    return this.#continueWith(next, [...others, ...(await this.#leave())]);
  }

  /** Ends a session of this browser, in use or parked; `false` if it is not there. */
  async remove(handle: string): Promise<boolean> {
    const session = await this.#current();
    if (isListedAs(session, handle) && session.principal !== undefined) {
      await session.destroy();
      return true;
    }
    const id = this.#parked.find((one) => handleOf(one) === handle);
    if (id === undefined) return false;
    const ended = await this.parts.manager.revoke(handle);
    this.#park(this.#parked.filter((one) => one !== id));
    return ended;
  }

  /** Tells the client which tokens it has to keep; `true` if that changed. @internal */
  answer(response: TransportResponse): boolean {
    if (!this.#changed) return false;
    const { transport } = this.#parking;
    const { manager } = this.parts;
    const tokens = this.#parked.map((id) => manager.tokenOf(id)).join(SEPARATOR);
    if (tokens === '') transport.clear(this.request, response);
    else {
      const lasting = this.#parked.some((id) => isLasting(handleOf(id)));
      transport.write(this.request, response, tokens, manager.latestEnd(), lasting);
    }
    return true;
  }

  get #parked(): string[] {
    this.#ids ??= this.parts.manager.idsOf(
      this.#parking.transport.read(this.request).flatMap((tokens) => tokens.split(SEPARATOR)),
    );
    return this.#ids;
  }

  /** The session in use. Accounts are not changed by what is not known. */
  async #current(): Promise<LiveSession> {
    const session = await this.active.session.load();
    if (session.outage === undefined) return session;
    LiveSession.stateOf(session).unavailable = true;
    throw new SessionStoreUnavailableError('outage');
  }

  get #parking() {
    const { parking } = this.parts;
    if (parking) return parking;
    throw new SessionUnavailableError(
      'There is one account for each browser: set the option "accounts" of SessionModule to how many there may be.',
    );
  }

  /** The id to park of the session in use. Who was not logged in leaves nothing behind: nothing would lead back. */
  async #leave(): Promise<string[]> {
    const session = await this.#current();
    if (session.principal === undefined) await session.destroy();
    const lives = await session.save();
    return lives && session.principal !== undefined ? [session.id] : [];
  }

  /** Only now that all is stored. */
  #continueWith(next: LiveSession, parked: string[]): Session {
    this.#park(parked);
    this.active.continueWith(next);
    return next;
  }

  #park(ids: string[]): void {
    this.#ids = ids;
    this.#changed = true;
  }
}

/** Its id may have been renewed since it was listed. */
function isListedAs(session: LiveSession, handle: string): boolean {
  return handle === session.handle || handle === LiveSession.stateOf(session).presentedHandle;
}

function accountOf(session: Session | undefined, current: Session): SessionAccount | undefined {
  if (session?.principal === undefined) return undefined;
  const { handle, principal, label, expiresAt } = session;
  return { handle, principal, label, expiresAt, current: session === current };
}
