import type { Duration } from '../core/duration.js';
import { SessionManager } from '../core/session-manager.js';
import type { AuthenticateOptions, Session, SessionData } from '../core/session.js';
import type { ResolvedSessionOptions } from '../options/resolve-session-options.js';
import { SESSION_OPTIONS } from '../session.constants.js';
import { SessionService, type CreateSessionOptions } from '../session.service.js';
import { FakeClock } from './fake-clock.js';

/** What a user under test brings along. */
export interface TestLoginOptions extends AuthenticateOptions {
  /** Attributes of the session. @default none */
  data?: Partial<SessionData> & Record<string, unknown>;
}

/** A client with a session: what its requests have to send. */
export interface TestClient {
  /** The session as it was stored; after requests, `SessionService.find(session.handle)` reads it anew. */
  readonly session: Session;
  /** Request headers that bring the session by the module's first built-in transport; none if it has only your own. */
  readonly headers: Readonly<Record<string, string>>;
  /** The value of a `Cookie` header that brings the session. */
  readonly cookie: string;
  /** The session's token, for a transport of your own. */
  readonly token: string;
}

/** Where the parts of an application are found: an application, a testing module, a `ModuleRef`. */
interface Injector {
  get<T>(token: unknown, options: { strict: false }): T;
}

/**
 * Acts as a user in tests of an application. It stores sessions the way the application itself does,
 * whatever the store is.
 *
 * @example
 * const { headers } = await app.get(SessionTesting).login('alice', { roles: ['admin'] });
 * await request(app.getHttpServer()).get('/me').set(headers).expect(200);
 */
export class SessionTesting {
  readonly #injector: Injector;

  /** @param application it, its testing module, or a `ModuleRef` */
  constructor(application: object) {
    this.#injector = application as Injector;
  }

  /** A client whose session belongs to a principal. */
  login(principal: string, options: TestLoginOptions = {}): Promise<TestClient> {
    return this.#client({ ...options, principal });
  }

  /** A client that has a session, but is not logged in. */
  anonymous(options: Pick<TestLoginOptions, 'data'> = {}): Promise<TestClient> {
    return this.#client(options);
  }

  /**
   * Lets time pass for all sessions.
   *
   * @example testing.advance('31m');
   */
  advance(by: Duration): void {
    const { clock } = this.#options;
    if (!(clock instanceof FakeClock)) {
      throw new TypeError('advance() moves a FakeClock: give SessionModule one as `clock`.');
    }
    clock.advance(by);
  }

  get #options(): ResolvedSessionOptions {
    return this.#get(SESSION_OPTIONS);
  }

  /** Late: the application's parts may not exist yet when this object is made. */
  #get<T>(token: unknown): T {
    return this.#injector.get(token, { strict: false });
  }

  async #client(options: CreateSessionOptions): Promise<TestClient> {
    const session = await this.#get<SessionService>(SessionService).create(options);
    const token = this.#get<SessionManager>(SessionManager).tokenOf(session.id);
    const cookie = `${this.#options.cookie.name}=${token}`;
    return { session, token, cookie, headers: this.#headers(token, cookie) };
  }

  #headers(token: string, cookie: string): Record<string, string> {
    for (const transport of this.#options.transports) {
      if (transport === 'cookie') return { cookie };
      if (transport === 'x-auth-token') return { 'x-auth-token': token };
      if (transport === 'authorization') return { authorization: `Session ${token}` };
    }
    return {};
  }
}
