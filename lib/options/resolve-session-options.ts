import { systemClock, type Clock } from '../core/clock.js';
import { toMilliseconds, type Duration } from '../core/duration.js';
import { jsonSessionCodec } from '../core/json-session.codec.js';
import type { SessionCodec } from '../core/session-codec.interface.js';
import type { SessionIdTransport } from '../core/session-id-transport.interface.js';
import type { Timeouts } from '../core/session-lifetime.js';
import type { MaxSessions } from '../core/session-limit.js';
import type { SessionMigration } from '../core/session-migration.interface.js';
import {
  isIndexed as keepsIndexes,
  type OnLimit,
  type SessionStore,
} from '../core/session-store.interface.js';
import { isCarried } from '../core/carried-store.interface.js';
import { isFollowed } from '../core/followed-store.interface.js';
import { isTelling } from '../core/store-news.interface.js';
import { SessionOptionsError } from '../core/session.errors.js';
import { assuranceOf } from '../core/assurance.js';
import type { SessionObserver } from '../core/session-observer.interface.js';
import type { SessionTokenIssuer } from '../core/session-token-issuer.interface.js';
import type { StoreFailurePolicy } from '../core/store-failure.js';
import type { Durability } from '../stores/redis/redis-client.js';
import {
  completeSecurity,
  deviceContradictions,
  securityContradictions,
  type ResolvedSecurityOptions,
} from './resolve-security-options.js';
import { carriedContradictions } from './carried-contradictions.js';
import { completeNearCache, type ResolvedNearCacheOptions } from './near-cache.options.js';
import { completeEvents, type ResolvedEventsOptions } from './session-events.options.js';
import { validatorOf } from './schema-validation.js';
import type {
  ExcludedRoutes,
  SessionDurabilityOptions,
  SessionModuleOptions,
  SessionPolicy,
  SessionRoutes,
  TimeoutPreset,
  TransportName,
} from './session-module.options.js';
import { problemsOf } from './session-options.validation.js';

/** The session cookie, as it was decided at boot. It is always HttpOnly. */
export interface CookieAttributes {
  readonly name: string;
  readonly domain?: string | undefined;
  readonly path: string;
  readonly sameSite: 'lax' | 'strict' | 'none';
  /** `'auto'`: exactly on encrypted requests. */
  readonly secure: boolean | 'auto';
  readonly partitioned: boolean;
  readonly priority?: 'low' | 'medium' | 'high' | undefined;
  /** Survives the browser, until the absolute end of the session. */
  readonly persistent: boolean;
  /** Name of the cookie that a load balancer may go by. */
  readonly routing?: string | undefined;
}

/** Options as the rest of the library reads them: complete, checked, in milliseconds, frozen. */
export interface ResolvedSessionOptions extends ResolvedSecurityOptions {
  readonly redis: SessionModuleOptions['redis'];
  readonly store: 'redis' | 'memory' | SessionStore;
  /** The memory store was not asked for by name. */
  readonly memoryByDefault: boolean;
  readonly bootWithoutStore: boolean;
  readonly durability: Durability | undefined;
  readonly onStoreFailure: StoreFailurePolicy;
  /** `undefined`: nothing is kept for an outage. */
  readonly staleFor: number | undefined;
  readonly logoutRetry: number;
  readonly idleTimeout: number;
  readonly absoluteTimeout: number;
  readonly rememberMe: Timeouts;
  readonly touchAfter: number;
  readonly maxSessions: MaxSessions;
  readonly onLimit: OnLimit;
  readonly indexes: SessionModuleOptions['indexes'];
  readonly assurance: (factors: readonly string[]) => number;
  readonly policy: SessionPolicy | undefined;
  readonly accounts: number;
  /** `undefined`: nothing is told. */
  readonly events: ResolvedEventsOptions | undefined;
  /** `undefined`: no copies are kept. */
  readonly nearCache: ResolvedNearCacheOptions | undefined;
  readonly keyPrefix: string;
  /** Sees what happens to sessions; `undefined`: nobody does. */
  readonly observer: SessionObserver | undefined;
  /** `undefined`: there are no short tokens. */
  readonly tokens: SessionTokenIssuer | undefined;
  readonly migrateFrom: SessionMigration | undefined;
  readonly cookie: CookieAttributes;
  readonly transports: readonly (TransportName | SessionIdTransport)[];
  readonly validate: ReturnType<typeof validatorOf>;
  readonly maxBytes: number;
  readonly codec: SessionCodec;
  readonly clock: Clock;
  readonly loading: 'lazy' | 'eager';
  readonly forRoutes: SessionRoutes | undefined;
  readonly exclude: ExcludedRoutes | undefined;
}

/**
 * Checks what an application said, and completes it. The only place with defaults.
 *
 * @param feature name of the sessions, if they are not those of `forRoot`
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) with all problems at once
 */
export function resolveSessionOptions(
  options: SessionModuleOptions = {},
  environment: string | undefined = process.env.NODE_ENV,
  feature?: string,
): ResolvedSessionOptions {
  const problems = problemsOf(options);
  if (problems.length > 0) throw new SessionOptionsError(problems);
  const resolved = complete(options, feature);
  const contradictions = contradictionsOf(options, resolved, environment);
  if (contradictions.length > 0) throw new SessionOptionsError(contradictions);
  return Object.freeze(resolved);
}

const HOUR = 3_600_000;
/** NIST SP 800-63B-4, sections 2.1.3 to 2.3.3. Level 1 asks for no idle timeout: it ends by the absolute one. */
const PRESETS: Readonly<Record<TimeoutPreset, Timeouts>> = {
  aal1: { idleTimeout: 30 * 24 * HOUR, absoluteTimeout: 30 * 24 * HOUR },
  aal2: { idleTimeout: HOUR, absoluteTimeout: 24 * HOUR },
  aal3: { idleTimeout: HOUR / 4, absoluteTimeout: 12 * HOUR },
};

/** Timeouts as they were given, completed by others; an idle window that was not given is not the longer one. */
function timeouts(
  given: { idleTimeout?: Duration; absoluteTimeout?: Duration },
  otherwise: Timeouts,
): Timeouts {
  const absoluteTimeout = toMilliseconds(given.absoluteTimeout) ?? otherwise.absoluteTimeout;
  const idleTimeout =
    toMilliseconds(given.idleTimeout) ?? Math.min(otherwise.idleTimeout, absoluteTimeout);
  return { idleTimeout, absoluteTimeout };
}

function complete(options: SessionModuleOptions, feature?: string): ResolvedSessionOptions {
  const preset = options.preset && PRESETS[options.preset];
  const usual = timeouts(options, preset ?? { idleTimeout: HOUR / 2, absoluteTimeout: 24 * HOUR });
  const { idleTimeout } = usual;
  const byDefault = options.store === undefined && options.redis === undefined;
  const lasting = { idleTimeout: 14 * 24 * HOUR, absoluteTimeout: 30 * 24 * HOUR };
  const nearTouchAfter =
    typeof options.nearCache === 'object' ? options.nearCache.touchAfter : undefined;
  const touchAfter = toMilliseconds(
    nearTouchAfter ?? options.touchAfter ?? Math.min(60_000, idleTimeout / 10),
  );
  return {
    redis: options.redis,
    store: options.store ?? (options.redis === undefined ? 'memory' : 'redis'),
    memoryByDefault: byDefault,
    bootWithoutStore: options.bootWithoutStore ?? false,
    durability: options.durability && completeDurability(options.durability),
    onStoreFailure: options.onStoreFailure ?? 'reject',
    staleFor: toMilliseconds(
      options.staleFor ?? (options.onStoreFailure === 'stale' ? '1m' : undefined),
    ),
    logoutRetry: toMilliseconds(options.logoutRetry ?? '1m') as number,
    ...usual,
    ...completeSecurity(options),
    rememberMe: Object.freeze(timeouts(options.rememberMe ?? {}, preset ?? lasting)),
    touchAfter: touchAfter as number,
    maxSessions: options.maxSessions ?? Infinity,
    onLimit: options.onLimit ?? 'retire-oldest',
    indexes: options.indexes && Object.freeze({ ...options.indexes }),
    assurance: options.assurance ?? assuranceOf,
    policy: options.policy,
    accounts: options.accounts ?? 1,
    events: completeEvents(options.events),
    // A machine without Redis keeps them in its memory, and needs no copies of that.
    nearCache: byDefault ? undefined : completeNearCache(options.nearCache),
    keyPrefix: options.keyPrefix ?? 'sess',
    tokens: options.tokens,
    observer: options.observer,
    migrateFrom: options.migrateFrom,
    cookie: completeCookie(options.cookie, feature),
    transports: Object.freeze([options.transport ?? ('cookie' as const)].flat()),
    validate: validatorOf(options.schema),
    maxBytes: options.maxBytes ?? 65_536,
    codec: options.codec ?? jsonSessionCodec,
    clock: options.clock ?? systemClock,
    loading: options.loading ?? 'lazy',
    forRoutes: options.forRoutes,
    exclude: options.exclude,
  };
}

function completeDurability(given: SessionDurabilityOptions): Durability {
  const { replicas = 1, timeout = '200ms', fsync = false } = given;
  return Object.freeze({ replicas, timeout: toMilliseconds(timeout) as number, fsync });
}

/** @param feature name of the sessions that `forFeature` keeps: it is added to the default name */
function completeCookie(
  cookie: SessionModuleOptions['cookie'] = {},
  feature?: string,
): CookieAttributes {
  const secure = cookie.secure ?? true;
  const prefixed = secure === true && cookie.domain === undefined && (cookie.path ?? '/') === '/';
  return Object.freeze({
    name:
      cookie.name ?? `${prefixed ? '__Host-session' : 'session'}${feature ? `-${feature}` : ''}`,
    domain: cookie.domain,
    path: cookie.path ?? '/',
    sameSite: cookie.sameSite ?? 'lax',
    secure,
    partitioned: cookie.partitioned ?? false,
    priority: cookie.priority,
    persistent: cookie.persistent ?? false,
    routing: cookie.routing,
  });
}

/** What is wrong although each option alone is right. */
function contradictionsOf(
  options: SessionModuleOptions,
  resolved: ResolvedSessionOptions,
  environment: string | undefined,
): string[] {
  const problems = [
    ...securityContradictions(resolved, resolved),
    ...deviceContradictions(resolved, resolved),
    ...carriedContradictions(options, resolved),
  ];
  const unless = (right: boolean, problem: string) => right || problems.push(problem);

  const { idleTimeout, absoluteTimeout, touchAfter } = resolved;
  unless(
    absoluteTimeout >= idleTimeout,
    `absoluteTimeout (${absoluteTimeout} ms) is shorter than idleTimeout (${idleTimeout} ms): make it at least as long`,
  );
  unless(
    touchAfter < resolved.rememberMe.idleTimeout,
    `touchAfter (${touchAfter} ms) is not shorter than rememberMe.idleTimeout (${resolved.rememberMe.idleTimeout} ms), so sessions in use would end: use a tenth of it, or leave it out`,
  );
  unless(
    touchAfter < idleTimeout,
    `touchAfter (${touchAfter} ms) is not shorter than idleTimeout (${idleTimeout} ms), so sessions in use would end: use a tenth of it, or leave it out`,
  );
  const { rememberMe } = resolved;
  unless(
    rememberMe.absoluteTimeout >= rememberMe.idleTimeout,
    `rememberMe.absoluteTimeout (${rememberMe.absoluteTimeout} ms) is shorter than rememberMe.idleTimeout (${rememberMe.idleTimeout} ms): make it at least as long`,
  );
  const most = options.preset && PRESETS[options.preset];
  for (const [path, given] of [
    ['', resolved],
    ['rememberMe.', rememberMe],
  ] as const) {
    for (const name of ['idleTimeout', 'absoluteTimeout'] as const) {
      unless(
        !most || given[name] <= most[name],
        `${path}${name} (${given[name]} ms) is longer than the preset ${options.preset} allows (${most?.[name]} ms): make it shorter, or choose another preset`,
      );
    }
  }
  unless(
    isIndexed(resolved.store) || (resolved.maxSessions === Infinity && !resolved.indexes),
    `maxSessions and indexes need a store that keeps indexes: give yours the methods of IndexedSessionStore, or leave them out`,
  );
  unless(
    !resolved.events ||
      typeof resolved.store === 'string' ||
      isTelling(resolved.store) ||
      isCarried(resolved.store),
    `events need a store that tells them: give yours the methods of TellingSessionStore, or leave events out`,
  );
  unless(
    !resolved.nearCache || resolved.store !== 'memory',
    `nearCache keeps copies of what is elsewhere, and the store "memory" is in this process already: leave nearCache out`,
  );
  unless(
    !resolved.nearCache || isTold(resolved) || isCarried(resolved.store),
    `nearCache needs a store that tells of changes: give yours the method follow of FollowedSessionStore, or those of TellingSessionStore together with events: { modified: true }`,
  );
  unless(
    !resolved.migrateFrom || (resolved.accounts === 1 && resolved.transports.includes('cookie')),
    `migrateFrom leads from one cookie to another: add the transport 'cookie', and leave accounts out until the migration is done`,
  );
  unless(
    !resolved.migrateFrom || !isCarried(resolved.store),
    `migrateFrom needs a store that keeps sessions: leave it out where clients carry them`,
  );
  unless(
    resolved.accounts === 1 || resolved.transports.includes('cookie'),
    `accounts needs the transport 'cookie': add it, or leave accounts out`,
  );
  unless(
    resolved.durability === undefined || resolved.store === 'redis',
    `durability is for the store in Redis: leave it out, a store of your own answers for itself`,
  );
  unless(
    !(options.redis !== undefined && options.store !== undefined),
    `redis and store are both given: leave one of them out`,
  );
  unless(
    !(resolved.memoryByDefault && environment === 'production'),
    `neither redis nor store is given, and in production sessions in one process's memory would be lost at each restart and unknown to other nodes: give redis, or write store: 'memory' if that is what you want`,
  );

  const { name, routing, domain, path, secure, sameSite, partitioned } = resolved.cookie;
  const lower = name.toLowerCase();
  unless(
    !lower.startsWith('__host-') || (secure === true && domain === undefined && path === '/'),
    `cookie.name begins with __Host-, which browsers accept only with secure: true, path: '/' and no domain: set these, or choose another name`,
  );
  unless(
    !lower.startsWith('__secure-') || secure === true,
    `cookie.name begins with __Secure-, which browsers accept only with secure: true: set it, or choose another name`,
  );
  unless(
    routing !== name && routing !== `${name}-accounts`,
    `cookie.routing is the name of a cookie that carries sessions: choose another name`,
  );
  unless(
    sameSite !== 'none' || secure === true,
    `cookie.sameSite is 'none', which browsers accept only with secure: true: set it`,
  );
  unless(
    !partitioned || secure === true,
    `cookie.partitioned is accepted by browsers only with secure: true: set it`,
  );
  return problems;
}

/** Whether copies of sessions can be known to be out of date. */
const isTold = ({ store, events }: ResolvedSessionOptions): boolean =>
  typeof store === 'string' || isFollowed(store) || (isTelling(store) && events?.modified === true);

const isIndexed = (store: ResolvedSessionOptions['store']): boolean =>
  typeof store === 'string' || keepsIndexes(store);
