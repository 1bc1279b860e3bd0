import type { Duration } from './duration.js';
import type { BindingReport } from './session-binding.js';
import type { DeviceStatus } from './session-device.js';
import type { SessionClient } from './session-identity.js';

/**
 * The application's part of a session. Declare its attributes once, everywhere typed:
 *
 * @example
 * declare module 'nestjs-distributed-session' {
 *   interface SessionData { cart?: { sku: string; qty: number }[] }
 * }
 */
// eslint-disable-next-line typescript/no-empty-object-type -- filled by declaration merging
export interface SessionData {}

/** Names of declared attributes, and any other string. */
export type SessionKey = keyof SessionData | (string & {});

/** The type of an attribute: the declared one, or `unknown`. */
export type SessionValue<K> = K extends keyof SessionData ? SessionData[K] : unknown;

/** What a principal may do; kept in the session. */
export interface SessionGrantOptions {
  /** Roles of the principal. @default [] */
  roles?: readonly string[];
  /** Permissions, such as `orders:write`. @default [] */
  permissions?: readonly string[];
  /** Whatever else the application wants to know of the principal without asking; JSON values. @default {} */
  claims?: Readonly<Record<string, unknown>>;
}

/** Who a session belongs to from now on, and what comes with it. */
export interface AuthenticateOptions extends SessionGrantOptions {
  /**
   * How the principal proved who they are, such as `pwd`, `otp`, `hwk` (names of RFC 8176), each as of
   * now. `@RequireFactor` and `@RequireAssurance` go by them.
   *
   * @default []
   */
  factors?: readonly string[];
  /** A lasting session: its timeouts are those of the option `rememberMe`, its cookie outlives the browser. @default false */
  rememberMe?: boolean;
  /** What people call the device, for the list of their sessions. @default none */
  label?: string;
  /** Kind of client, such as `mobile`: `maxSessions` then counts those of the same kind only. @default none: all count */
  clientKind?: string;
  /** Session of the identity provider (`sid` of OpenID Connect), for back-channel logout by `revokeBy`. @default none */
  idpSession?: string;
  /** Address and software of the client. @default what the request tells */
  client?: SessionClient;
}

/** As what a session acts for another principal. */
export type SwitchPrincipalOptions = SessionGrantOptions;

/** For whom a token is, and how long. */
export interface SessionTokenOptions {
  /** The service, or services, that are to accept it (`aud`). Each refuses what is not for it. */
  audience: string | readonly string[];
  /** How long it is accepted, by whom nobody tells of a logout; at least `'1s'`. @default `ttl` of the issuer, `'5m'` */
  ttl?: Duration;
}

/** How to save before the end of the request. */
export interface SaveSessionOptions {
  /**
   * Fail with `SESSION_CONFLICT` if the session was changed since it was loaded, instead of
   * replaying this request's operations on the current one.
   *
   * @default false
   */
  ifUnchanged?: boolean;
}

/**
 * The live session of a request, or one obtained from `SessionService`.
 *
 * In a request everything only marks intent; it is written once, before the response's headers
 * leave. Outside a request, `save()` writes. When another request changed the session in between,
 * this one's operations (`set`, `delete`, `clear`, `increment`, `update`, `flash`, and attributes
 * changed through `data`) are replayed on the current state: none is lost, whole documents are
 * never merged.
 *
 * Decorators and guards load it. Everything but `load`, `handle` and `touch` needs that.
 *
 * @throws SessionNotLoadedError (`SESSION_NOT_LOADED`) from whatever reads or changes it before
 * @throws SessionEndedError (`SESSION_ENDED`) from whatever changes it after it ended
 */
export interface Session {
  /**
   * The secret that names the session; only its client may see it. Never log or return it: use
   * {@link handle}. @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) if it was found by handle
   */
  readonly id: string;
  /** The id's digest: safe to list, to log and to put in a URL. */
  readonly handle: string;
  /**
   * Set while the store does not answer and `onStoreFailure` lets the request go on: `'anonymous'`, nothing
   * is known of the session, and what is set is lost; `'stale'`, it is as this node saw it lately.
   * Logins, logouts and, where it is stale, changes fail with `SESSION_STORE_UNAVAILABLE`.
   */
  readonly outage: 'anonymous' | 'stale' | undefined;
  /** True until the session is stored for the first time. */
  readonly isNew: boolean;
  /** Whose session it is; `undefined` for an anonymous one. */
  readonly principal: string | undefined;
  /** Roles given to {@link authenticate}, or by `updateGrants` since. */
  readonly roles: readonly string[];
  /** Permissions, given as the roles are. */
  readonly permissions: readonly string[];
  /** Claims, given as the roles are: as these a copy, of which nothing is stored that its reader does to it. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** When each factor was last proven, in milliseconds since the epoch. */
  readonly factors: Readonly<Record<string, number>>;
  /** Who really acts, after {@link switchPrincipal}; `undefined` otherwise. */
  readonly actor: string | undefined;
  /** What people call the device. */
  readonly label: string | undefined;
  /** Whether it is a lasting session. */
  readonly rememberMe: boolean;
  /**
   * How far the client of this request is the one that the session began with, by the option `binding`; a
   * score of 0 without it. For an application's own policy: such as a further factor above some score.
   */
  readonly binding: BindingReport;
  /**
   * Whether this request comes from the device that the session is bound to, by the option `deviceBound`;
   * `undefined` for a session that is bound to none, and outside of requests. Of an `'unproven'` session
   * nobody is told whose it is: {@link principal} and the like are as of an anonymous one, and guards answer
   * 401 (`SESSION_DEVICE_UNPROVEN`). It can log in anew, and it can be ended.
   */
  readonly device: DeviceStatus | undefined;
  /** When it began, in milliseconds since the epoch. */
  readonly createdAt: number;
  /** When the principal was last authenticated, in milliseconds since the epoch; neither activity nor {@link elevate} moves it. */
  readonly authenticatedAt: number | undefined;
  /** When it was last used, in milliseconds since the epoch; exact to `touchAfter`. */
  readonly lastAccessedAt: number;
  /** The nearer of idle and absolute end, in milliseconds since the epoch; exact to `touchAfter`. */
  readonly expiresAt: number;
  /** The attributes. Nested changes are noticed. The object has no prototype. */
  readonly data: SessionData & Record<string, unknown>;

  /** An attribute, `undefined` if it is not set. */
  get<K extends SessionKey>(key: K): SessionValue<K> | undefined;
  /** Sets an attribute; `undefined` deletes it. */
  set<K extends SessionKey>(key: K, value: SessionValue<K>): void;
  /** Deletes an attribute. */
  delete(key: SessionKey): void;
  /** Empties the data and keeps the session. */
  clear(): void;
  /**
   * Adds to a number, absent counts as 0. Parallel increments all count. Returns the sum as this
   * request sees it; after `await save()` `get(key)` is the stored one.
   *
   * @example session.increment('views');
   */
  increment(key: SessionKey, by?: number): number;
  /**
   * Computes an attribute from its current value. `fn` runs again if another request was
   * faster, so it must be synchronous and do nothing but compute.
   *
   * @example session.update('cart', (cart) => [...(cart ?? []), item]);
   */
  update<K extends SessionKey>(
    key: K,
    fn: (current: SessionValue<K> | undefined) => SessionValue<K> | undefined,
  ): SessionValue<K> | undefined;
  /** Leaves a message for the next reader. */
  flash(key: string, message: unknown): void;
  /** Takes the messages left under a key; they are gone afterwards. */
  flash(key: string): unknown[];

  /**
   * Reads the session from the store, once; later calls share the result.
   *
   * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`), SessionFormatError
   * (`SESSION_FORMAT_UNSUPPORTED`)
   */
  load(): Promise<this>;
  /**
   * Binds the session to a principal, always under a new id (OWASP ASVS 7.2.4); the data is kept.
   * Both timeouts begin anew. Whoever knows the old id is not led to the new one. What was proven and
   * granted before counts no more: only what is given here.
   *
   * With `maxSessions`, the end of the request may answer 409 instead; `await save()` to know at once.
   *
   * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) if it was found by handle
   * @example await session.authenticate(user.id, { roles: user.roles, factors: ['pwd'] });
   */
  authenticate(principal: string, options?: AuthenticateOptions): Promise<void>;
  /**
   * Notes that a further factor was proven just now, under a new id; whoever knows the old one is not led
   * to it. Call it after you have checked the factor.
   *
   * @throws SessionRequiredError (`SESSION_REQUIRED`) if nobody is logged in
   * @example await session.elevate('otp');
   */
  elevate(factor: string): Promise<void>;
  /**
   * Acts as another principal from now on, under a new id; {@link actor} tells who really does. Factors
   * and their times stay those of the actor. Whether they may is yours to check before.
   *
   * The session then ends with either one's sessions: `revokeAll` of both reaches it.
   *
   * @throws SessionRequiredError (`SESSION_REQUIRED`) if nobody is logged in
   * @example await session.switchPrincipal('bob', { roles: [] });
   */
  switchPrincipal(principal: string, options?: SwitchPrincipalOptions): Promise<void>;
  /** Ends {@link switchPrincipal}: back to who really acts, with what they had, under a new id; nothing if nobody does. */
  switchBack(): Promise<void>;
  /**
   * Gives the session a new id and **keeps its data**, unlike express-session. Requests in flight
   * with the old id are led to the new one for a short grace (`regenerateGrace`).
   *
   * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) if it was found by handle
   */
  regenerate(): Promise<void>;
  /** Ends the session. Idempotent, and not undone by a request that is still running. */
  destroy(): Promise<void>;
  /**
   * Writes now instead of at the end of the request. `false` if the session was ended meanwhile:
   * then nothing was written, and nothing will be.
   *
   * @throws SessionConflictError (`SESSION_CONFLICT`), SessionTooLargeError (`SESSION_TOO_LARGE`),
   * SessionDataError (`SESSION_DATA_INVALID`), SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`)
   */
  save(options?: SaveSessionOptions): Promise<boolean>;
  /** Starts the idle window anew, unless that was done less than `touchAfter` ago. */
  touch(): Promise<void>;
  /**
   * A short-lived token, such as a JWT, that tells another service who is logged in here, by the option
   * `tokens`. Nobody can use the session by it. It outlives a logout by its `ttl`, never the absolute end
   * of the session, and tells what the store has: after a login `await save()` first. A new id that is
   * due is stored before.
   *
   * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) without the option `tokens`, or if who it is has
   * changed and is not stored
   * @throws SessionRequiredError (`SESSION_REQUIRED`) if nobody is logged in
   * @throws SessionStepUpError (`SESSION_STEP_UP_REQUIRED`) if the option `binding` asks for a login first
   * @throws TypeError without an audience, or for a ttl that is not between a second and the issuer's `maxTtl`
   * @example const token = await session.token({ audience: 'https://orders.example', ttl: '2m' });
   */
  token(options: SessionTokenOptions): Promise<string>;
}
