import type { ExecutionContext, MiddlewareConsumer, Type } from '@nestjs/common';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Clock } from '../core/clock.js';
import type { Duration } from '../core/duration.js';
import type { ReplayPolicy, SessionRejection } from '../core/rejection.js';
import type { SessionCodec } from '../core/session-codec.interface.js';
import type { SessionIndexer } from '../core/session-draft.js';
import type { SessionIdTransport } from '../core/session-id-transport.interface.js';
import type { MaxSessions } from '../core/session-limit.js';
import type { SessionMigration } from '../core/session-migration.interface.js';
import type { OnLimit, SessionStore } from '../core/session-store.interface.js';
import type { SessionObserver } from '../core/session-observer.interface.js';
import type { SessionTokenIssuer } from '../core/session-token-issuer.interface.js';
import type { StoreFailurePolicy } from '../core/store-failure.js';
import type { Session } from '../core/session.js';
import type { RedisClient, RedisConnectionOptions } from '../stores/redis/redis-client.js';
import type { SessionNearCacheOptions } from './near-cache.options.js';
import type { SessionEventsOptions } from './session-events.options.js';
import type {
  SessionBindingOptions,
  SessionCsrfOptions,
  SessionDeviceOptions,
  SessionEncryptionOptions,
} from './session-security.options.js';

type Middleware = ReturnType<MiddlewareConsumer['apply']>;

/** Routes as Nest's `MiddlewareConsumer` takes them. */
export type SessionRoutes = Parameters<Middleware['forRoutes']>;
/** Excluded routes as Nest's `MiddlewareConsumer` takes them. */
export type ExcludedRoutes = Parameters<Middleware['exclude']>;

/** The session cookie. It is always HttpOnly. */
export interface SessionCookieOptions {
  /** @default '__Host-session', or 'session' where `secure` is not `true` */
  name?: string;
  /** Hosts that get the cookie besides the one that set it. @default none: this host only */
  domain?: string;
  /** @default '/' */
  path?: string;
  /** @default 'lax' */
  sameSite?: 'lax' | 'strict' | 'none';
  /**
   * Whether the browser may send it over plain http. `'auto'`: Secure exactly on encrypted requests,
   * as far as the adapter trusts the proxy's `X-Forwarded-Proto`.
   *
   * @default true
   */
  secure?: boolean | 'auto';
  /** One cookie for each top-level site (CHIPS); for embedded applications. @default false */
  partitioned?: boolean;
  /** What browsers drop last. @default none */
  priority?: 'low' | 'medium' | 'high';
  /**
   * Keep the cookie until the absolute end of the session, instead of until the browser is closed.
   *
   * @default false
   */
  persistent?: boolean;
  /**
   * Name of a second cookie, by which a load balancer may send a browser to the same node again: four
   * hex digits that stay the same when the session's id is renewed, and are no secret. Never needed:
   * every node knows every session.
   *
   * @default none
   */
  routing?: string;
}

/** How the token travels. */
export type TransportName = 'cookie' | 'x-auth-token' | 'authorization';

/** Timeouts of lasting sessions. */
export interface RememberMeOptions {
  /** A lasting session ends when it was not used for this long. @default '14d' */
  idleTimeout?: Duration;
  /** A lasting session ends after this long however active it is. @default '30d' */
  absoluteTimeout?: Duration;
}

/** When a write about who is logged in counts as done. */
export interface SessionDurabilityOptions {
  /** Replicas that must have it (`WAIT`). @default 1 */
  replicas?: number;
  /** How long they have for it. @default '200ms' */
  timeout?: Duration;
  /** It must be on disk, at the master and as many replicas (`WAITAOF`, from Redis 7.2 on). @default false */
  fsync?: boolean;
}

/** Names of the timeouts that NIST SP 800-63B-4 asks for, by authenticator assurance level. */
export type TimeoutPreset = 'aal1' | 'aal2' | 'aal3';

/** An application's own access control: `false` answers 403. */
export type SessionPolicy = (
  session: Session,
  context: ExecutionContext,
) => boolean | Promise<boolean>;

/** What `SessionModule.forRoot` takes. Everything has a default; everything is checked at boot. */
export interface SessionModuleOptions {
  /**
   * Redis: a URL, options (`url`, `cluster: { nodes }`, `sentinels: { name, nodes }`, `tls`, `username`,
   * `password` and whatever else ioredis takes), or a client of ioredis 5, ioredis 6 or iovalkey, as it
   * is or as `client`. A client that is handed in is never closed.
   *
   * @default none: sessions are kept in this process, refused with `NODE_ENV=production` unless `store: 'memory'` says so
   */
  redis?: string | RedisConnectionOptions | RedisClient;
  /** Where sessions live: `'memory'`, or a store of your own. @default Redis if `redis` is given */
  store?: 'memory' | SessionStore;
  /**
   * Boot although the store does not answer, and answer 503 until it does.
   *
   * @default false: booting fails within about two seconds
   */
  bootWithoutStore?: boolean;
  /**
   * What is about who is logged in (login, logout, new ids, changed grants) counts only when so many
   * replicas have it; else it is answered 503 (`SESSION_UNCONFIRMED`), and may be done again. Without
   * it a failover can undo what Redis had acknowledged, a logout included. For the store in Redis.
   *
   * @default none
   * @example { replicas: 1 }
   */
  durability?: SessionDurabilityOptions;
  /**
   * What becomes of a request whose session cannot be read because the store does not answer:
   * `'reject'`, 503; `'anonymous'`, it goes on without a session, and no cookie is sent; `'stale'`, it goes
   * on with the session as this node saw it within `staleFor`, which it cannot change, and is refused if
   * it did not. `@OnStoreFailure` says it for a route.
   *
   * @default 'reject'
   */
  onStoreFailure?: StoreFailurePolicy;
  /**
   * How old a session may be that `onStoreFailure: 'stale'` serves. It may have been ended elsewhere since.
   * Needed where only routes say `'stale'`.
   *
   * @default '1m' with `onStoreFailure: 'stale'`; else none is kept
   */
  staleFor?: Duration;
  /**
   * For how long a logout that the store did not confirm is tried again in the background. Its caller is
   * told (503) all the same. `0`: not at all.
   *
   * @default '1m'
   */
  logoutRetry?: Duration;
  /**
   * Timeouts as NIST SP 800-63B-4 asks for: `aal1` 30 d, `aal2` 24 h and 1 h idle, `aal3` 12 h and 15 min
   * idle. What is given beside it may be shorter, not longer.
   *
   * @default none
   */
  preset?: TimeoutPreset;
  /** A session ends when it was not used for this long. @default '30m', or the preset's */
  idleTimeout?: Duration;
  /** A session ends after this long however active it is; authentication begins it anew. @default '24h', or the preset's */
  absoluteTimeout?: Duration;
  /**
   * Timeouts of sessions that were authenticated with `rememberMe: true`.
   *
   * @default 14 days idle, 30 days in all; with a preset, the preset's
   */
  rememberMe?: RememberMeOptions;
  /**
   * How many sessions a principal may have: a number, or a function of the principal and the new session,
   * such as its `clientKind`. Sessions with a `clientKind` are counted by kind. `Infinity`: no limit.
   *
   * @default Infinity
   */
  maxSessions?: MaxSessions;
  /**
   * What happens to a login beyond `maxSessions`: it is refused (409 `SESSION_LIMIT_REACHED`), or the
   * session with the oldest login, or the one that was not used for the longest time, ends.
   *
   * @default 'retire-oldest'
   */
  onLimit?: OnLimit;
  /**
   * Further indexes, by what `findBy` and `revokeBy` look for sessions: a name, and a function from a
   * session to its value or values. The function must only compute.
   *
   * @default none
   * @example { tenant: (session) => session.data.tenant }
   */
  indexes?: Readonly<Record<string, SessionIndexer>>;
  /**
   * Which assurance level (1 to 3) a session's proven factors amount to, for `@RequireAssurance`.
   *
   * @default two factors of different kinds (knowledge, possession, biometric): 2; with a hardware key
   * among them: 3; else 1
   */
  assurance?: (factors: readonly string[]) => number;
  /** An application's own access control: `SessionGuard` asks it after roles and permissions, before any step-up. @default none */
  policy?: SessionPolicy;
  /**
   * Several accounts in one browser, by `SessionAccounts`: how many at most. Needs the transport `'cookie'`.
   *
   * @default 1
   */
  accounts?: number;
  /**
   * The idle window is moved at most this often on each node: a session may end this much earlier
   * than `idleTimeout` says. Smaller costs more writes in Redis, never more commands.
   *
   * @default the smaller of '60s' and a tenth of `idleTimeout`
   */
  touchAfter?: Duration;
  /**
   * A session in use gets a new id this often, so that a stolen one is soon worth nothing. Requests in
   * flight follow for `regenerateGrace`.
   *
   * @default none: new ids at authentication and changes of privilege only
   */
  renewalTimeout?: Duration;
  /** For how long requests in flight with a renewed id reach its successor. @default '30s' */
  regenerateGrace?: Duration;
  /**
   * For how long, at least, the use of a renewed id is noticed, as `replayed` in `onRejected`: about 250
   * bytes in the store for each renewal. `0`: not after the grace.
   *
   * @default as long as the session can be idle
   */
  replayWindow?: Duration;
  /**
   * What happens then: the request is refused, or the session that goes on ends as well, for its user
   * and for whoever stole it. A client that lost the answer with its new id looks the same.
   *
   * @default 'refuse'
   */
  onReplay?: ReplayPolicy;
  /**
   * Encrypts what is stored of sessions (AES-256-GCM). `true`: under keys made of `secret`. What was
   * encrypted under a later key of the list is encrypted anew when it is used.
   *
   * @default false
   */
  encryption?: boolean | SessionEncryptionOptions;
  /** Notices sessions that are brought by another client than the one they began with. @default none */
  binding?: SessionBindingOptions;
  /**
   * Binds each login to the device it comes from, in browsers that can (W3C Device Bound Session
   * Credentials), so that a stolen cookie is worth nothing after minutes. In all others sessions are as
   * before. Needs `secret` and a secure cookie; not together with `accounts`.
   *
   * @default false
   */
  deviceBound?: boolean | SessionDeviceOptions;
  /** Which requests `SessionCsrfGuard` lets pass. @default those of the same origin */
  csrf?: SessionCsrfOptions;
  /**
   * Told of what came as a session and was refused. Must not throw; its promise is not waited for.
   *
   * @default logged: `undecryptable`, `replayed`, `mismatch` and `unproven` as warnings, all else for debugging
   */
  onRejected?: (rejection: SessionRejection) => unknown;
  /**
   * Tells what happens to sessions, on all nodes: `SessionEvents`, `@OnSessionEvent`, sockets and streams
   * that end with their session. In the same step as the change, without a further command.
   *
   * @default false
   */
  events?: boolean | SessionEventsOptions;
  /**
   * Keeps copies of the sessions in use on each node, which Redis invalidates: most reads then cost no command. A copy may be
   * some milliseconds behind what another node has written; `@Consistency` says which routes ask the store all the same.
   *
   * @default false
   */
  nearCache?: boolean | SessionNearCacheOptions;
  /** First part of every key in Redis. @default 'sess' */
  keyPrefix?: string;
  /**
   * Signs tokens, so that a forged one is refused without asking the store. Of a list, the first signs
   * and all verify. At least 32 characters each.
   *
   * @default none: tokens are 255 random bits, looked up in the store
   */
  secret?: string | readonly string[];
  /**
   * Makes short tokens about sessions, by `session.token()`, which other services verify without the store:
   * `JwtIssuer` of `nestjs-distributed-session/jwt`. Sessions of `forFeature` have it as well, and their
   * tokens tell their name.
   *
   * @default none
   */
  tokens?: SessionTokenIssuer;
  /**
   * Sees what happens to sessions on this node, as names and numbers: `openTelemetry()` of
   * `nestjs-distributed-session/telemetry` makes metrics and spans of it. Sessions of `forFeature` have it as well.
   *
   * @default none
   */
  observer?: SessionObserver;
  /**
   * Sessions that another library began: `connectRedis(…)` or `fastifySession(…)` of
   * `nestjs-distributed-session/migration`. They go on here and, with `mode: 'both'`, on old nodes as well.
   *
   * @default none
   */
  migrateFrom?: SessionMigration;
  /** The session cookie. */
  cookie?: SessionCookieOptions;
  /**
   * How the token travels; of a list the first that brings one counts, and the answer goes back the
   * same way. `'x-auth-token'`: that header, both ways. `'authorization'`: `Authorization: Session …`
   * in, `Authentication-Info` out.
   *
   * @default 'cookie'
   */
  transport?: TransportName | SessionIdTransport | readonly (TransportName | SessionIdTransport)[];
  /**
   * What the data must look like: a class with class-validator decorators, or a Standard Schema (zod,
   * valibot, arktype …). Checked before anything is written.
   */
  schema?: Type<object> | StandardSchemaV1;
  /** Largest session in the store, in bytes. @default 65536 */
  maxBytes?: number;
  /** How data becomes text. @default JSON */
  codec?: SessionCodec;
  /** Where the time comes from; for tests. @default the machine's clock */
  clock?: Clock;
  /**
   * `'eager'` reads the session of every request that brings a token before other middleware runs; for
   * middleware that reads `req.session`, such as passport. `'lazy'` reads it where it is used.
   *
   * @default 'lazy'
   */
  loading?: 'lazy' | 'eager';
  /** Only these routes have a session. @default all */
  forRoutes?: SessionRoutes;
  /** These routes have none. @default none */
  exclude?: ExcludedRoutes;
}

/**
 * What `SessionModule.forFeature` takes. What is not given is as in `forRoot`, but for the cookie's name
 * and the prefix of keys, to which the name of the feature is added.
 */
export type SessionFeatureOptions = Omit<
  SessionModuleOptions,
  'forRoutes' | 'exclude' | 'loading' | 'bootWithoutStore' | 'deviceBound' | 'migrateFrom'
>;

/** For `forRootAsync({ useClass | useExisting })`. */
export interface SessionModuleOptionsFactory {
  createSessionOptions(): SessionModuleOptions | Promise<SessionModuleOptions>;
}
