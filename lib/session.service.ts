import { Inject, Injectable } from '@nestjs/common';
import { mustReach } from './core/carried-store.interface.js';
import { LiveSession } from './core/live-session.js';
import type { NearCacheFigures } from './core/near-cache-figures.js';
import type { OutageCounters } from './core/outage-counters.js';
import type { ListedSession, PrincipalSessions } from './core/principal-sessions.js';
import type { SessionQuery } from './core/session-index.js';
import { SessionManager } from './core/session-manager.js';
import { SessionConflictError } from './core/session.errors.js';
import { mustBeName } from './core/session-renewal.js';
import type { AuthenticateOptions, Session, SessionData } from './core/session.js';
import { currentCorridor } from './http/session-corridor.js';

/** A session to create outside a request. */
export interface CreateSessionOptions extends AuthenticateOptions {
  /** Whose session it is. @default none: an anonymous session */
  principal?: string;
  /** First attributes. @default none */
  data?: Partial<SessionData> & Record<string, unknown>;
}

/** Sessions that {@link SessionService.findBy} returns if it is not told otherwise. */
const FOUND_AT_MOST = 10_000;

/** Attempts of {@link SessionService.update} before it gives up. */
const UPDATE_ATTEMPTS = 10;

/**
 * Sessions from anywhere: in a request, a job, a microservice.
 *
 * Reading through this service is no activity of the session's user: it extends nothing.
 * All methods fail with `SESSION_STORE_UNAVAILABLE` if the store does not answer.
 */
@Injectable()
export class SessionService {
  readonly #manager: SessionManager;

  constructor(@Inject(SessionManager) manager: SessionManager) {
    this.#manager = manager;
  }

  /**
   * The session of the request in whose course this is called, `undefined` outside of requests and
   * on routes that have none. Not loaded: `await session.load()` before you read it.
   */
  current(): Session | undefined {
    const corridor = currentCorridor();
    return corridor?.skipped ? undefined : corridor?.laneOf(this.#manager)?.session;
  }

  /**
   * Stores a new session and returns it, with the id that its client needs.
   *
   * @throws SessionTooLargeError (`SESSION_TOO_LARGE`), SessionDataError (`SESSION_DATA_INVALID`),
   * SessionSerializationError (`SESSION_NOT_SERIALIZABLE`)
   * @example const session = await sessions.create({ principal: 'alice', data: { cart: [] } });
   */
  async create(options: CreateSessionOptions = {}): Promise<Session> {
    const session = this.#manager.open([]);
    for (const [key, value] of Object.entries(options.data ?? {})) session.set(key, value);
    if (options.principal !== undefined) await session.authenticate(options.principal, options);
    await this.#manager.store(session);
    return session;
  }

  /**
   * What the client of a session sends with its requests: its id, signed where the module has a
   * `secret`. For clients that take no cookie; as secret as the id.
   */
  tokenOf(session: Session): string {
    const { carriage } = LiveSession.stateOf(session as LiveSession);
    if (carriage) mustReach(carriage);
    return this.#manager.tokenOf(session.id);
  }

  /**
   * What names a stored session to another service of the application, which then has it in its handlers:
   * sent as `session` in the metadata or headers of a message. No client can use it as a token. With a
   * `secret` only who has that can make one, and it is worth nothing once the session is somebody else's.
   *
   * @throws SessionNotLoadedError (`SESSION_NOT_LOADED`), SessionUnavailableError (`SESSION_UNAVAILABLE`)
   * before it is stored
   * @example client.send('order', { items, session: sessions.referenceOf(session) });
   */
  referenceOf(session: Session): string {
    return this.#manager.referenceOf(session as LiveSession);
  }

  /** The session with this handle, `undefined` if there is none. Write with `save()`. */
  find(handle: string): Promise<Session | undefined> {
    return this.#manager.openByHandle(handle);
  }

  /** The session with this id, `undefined` if there is none. Write with `save()`. */
  get(id: string): Promise<Session | undefined> {
    return this.#manager.openById(id);
  }

  /**
   * Changes a session by compare-and-set: if somebody else was faster, `change` runs again on what is
   * there then. So it must do nothing but change the session.
   *
   * @returns the changed session, `undefined` if there is none
   * @throws SessionConflictError (`SESSION_CONFLICT`) after ten attempts
   * @example await sessions.update(handle, (session) => session.set('tier', 'gold'));
   */
  async update(
    handle: string,
    change: (session: Session) => void | Promise<void>,
  ): Promise<Session | undefined> {
    for (let attempt = 0; attempt < UPDATE_ATTEMPTS; attempt++) {
      const session = await this.find(handle);
      if (!session) return undefined;
      await change(session);
      try {
        return (await session.save({ ifUnchanged: true })) ? session : undefined;
      } catch (error) {
        if (!(error instanceof SessionConflictError)) throw error;
      }
    }
    throw new SessionConflictError();
  }

  /** Ends a session; `false` if there was none. No request that is still running brings it back. */
  revoke(handle: string): Promise<boolean> {
    return this.#manager.revoke(handle);
  }

  /**
   * The sessions of a principal: to list and end them, and to change what they may do.
   *
   * @throws TypeError for an empty principal
   * @example await sessions.forPrincipal('alice').revokeAll();
   */
  forPrincipal(principal: string): PrincipalSessions {
    mustBeName('forPrincipal(principal)', principal);
    return this.#manager.forPrincipal(principal, this.#currentHandle);
  }

  /**
   * Sessions by an index that the option `indexes` declares, or by `idpSession`, whoever's they are. Asks
   * all 256 buckets.
   *
   * @param options `limit`: sessions at most. @default 10000
   * @example await sessions.findBy('tenant', 't1');
   */
  async findBy(
    index: string,
    value: string,
    options: { limit?: number } = {},
  ): Promise<ListedSession[]> {
    const { limit = FOUND_AT_MOST } = options;
    if (!Number.isInteger(limit) || limit < 1) {
      throw new TypeError('findBy(…, { limit }): use a whole number of at least 1');
    }
    return this.#manager.findBy({ [index]: value }, limit, this.#currentHandle);
  }

  /**
   * Ends sessions by an index that the option `indexes` declares, or by `idpSession`: back-channel
   * logout of OpenID Connect. Asks all 256 buckets.
   *
   * @returns how many there were
   * @example await sessions.revokeBy({ idpSession: logoutToken.sid });
   */
  revokeBy(query: SessionQuery): Promise<number> {
    return this.#manager.revokeBy(query);
  }

  /**
   * Ends the sessions of all principals; anonymous ones stay. For administrators (OWASP ASVS 7.4.5);
   * walks the key space.
   *
   * @returns how many there were
   */
  revokeAllPrincipals(): Promise<number> {
    return this.#manager.revokeAllPrincipals();
  }

  /** Starts a session's idle window anew; `false` if there is no such session. */
  touch(handle: string): Promise<boolean> {
    return this.#manager.touchHandle(handle);
  }

  /** How many sessions are stored. Walks the key space: for operators, not for each request. */
  count(): Promise<number> {
    return this.#manager.count();
  }

  /** What outages of the store have cost on this node since it started; for metrics. */
  counters(): OutageCounters {
    return this.#manager.counters();
  }

  /** What the option `nearCache` has done on this node since it started, for metrics; `undefined` without it. */
  nearCache(): NearCacheFigures | undefined {
    return this.#manager.nearCache();
  }

  /** Resolves if the store answers now; for health checks. */
  ping(): Promise<void> {
    return this.#manager.ping();
  }

  /** As it stands in lists: a new id that this request means to give it does not count yet. */
  readonly #currentHandle = (): string | undefined => {
    const session = this.current() as LiveSession | undefined;
    const state = session && LiveSession.stateOf(session);
    return state && (state.presented || state.record) ? state.storedHandle : undefined;
  };
}
