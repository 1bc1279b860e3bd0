import { Logger, type Provider } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { APP_FILTER, APP_INTERCEPTOR } from '@nestjs/core';
import { SessionExceptionFilter } from './access/session-exception.filter.js';
import { SessionCsrfGuard } from './access/csrf.guard.js';
import { SessionGuard } from './access/session.guard.js';
import { SessionInterceptor } from './access/session.interceptor.js';
import { isCarried, type CarriedSessionStore } from './core/carried-store.interface.js';
import type { SessionIdTransport } from './core/session-id-transport.interface.js';
import type { RejectionReason } from './core/rejection.js';
import { SessionRecords } from './core/session-records.js';
import { SessionLifetime } from './core/session-lifetime.js';
import { SessionLimit } from './core/session-limit.js';
import { SessionManager } from './core/session-manager.js';
import { SessionNews } from './core/session-news.js';
import { RecentSessions, type RecentValue } from './core/store-failure.js';
import type { SessionStore } from './core/session-store.interface.js';
import { describeLacks } from './core/store-abilities.js';
import { SessionEvents } from './events/session-events.js';
import { capacityOf, ChunkedCookieTransport } from './http/chunked-cookie.transport.js';
import { CookieTransport } from './http/cookie.transport.js';
import { DeviceEndpoint } from './http/device-endpoint.js';
import { DeviceSessions } from './http/device-sessions.js';
import { AuthorizationTransport, HeaderTransport } from './http/header.transport.js';
import { SessionHost } from './http/session-host.js';
import type { SessionLaneParts } from './http/session-lane.js';
import { describeStaleGap } from './options/near-cache.options.js';
import {
  resolveSessionOptions,
  type ResolvedSessionOptions,
} from './options/resolve-session-options.js';
import type { SessionModuleOptions } from './options/session-module.options.js';
import { AesRecordSealer } from './security/aes-record.sealer.js';
import { ClientBinding } from './security/client.binding.js';
import { DeviceProofReader } from './security/device-proof.js';
import { DeviceTickets } from './security/device-tickets.js';
import { Keyring } from './security/keyring.js';
import { HmacSessionIdSigner } from './security/session-id.signer.js';
import { SESSION_MODULE_OPTIONS, SESSION_OPTIONS, SESSION_STORE } from './session.constants.js';
import { EventWork } from './session.event-work.js';
import { NearCaches } from './session.near-caches.js';
import { Observation } from './session.observation.js';
import { SessionService } from './session.service.js';
import { SessionSockets } from './sockets/session-sockets.js';
import { SocketHost } from './sockets/socket-host.js';
import { StoreGuard } from './stores/guard/store-guard.js';
import { observed } from './stores/observed/observed-store.js';
import { MemorySessionStore } from './stores/memory/memory-session.store.js';
import { openRedisStore } from './stores/redis/open-redis-store.js';

export const logger = new Logger('SessionModule');

/** Everything that the module consists of: the only place that says `new`. */
export const sessionProviders: Provider[] = [
  {
    provide: SESSION_OPTIONS,
    useFactory: async (options?: SessionModuleOptions) => {
      const resolved = resolveSessionOptions(options);
      await resolved.tokens?.ready?.();
      await beginMigration(resolved);
      return resolved;
    },
    inject: [{ token: SESSION_MODULE_OPTIONS, optional: true }],
  },
  { provide: SESSION_STORE, useFactory: openStore, inject: [SESSION_OPTIONS] },
  { provide: StoreGuard, useFactory: createGuard, inject: [SESSION_OPTIONS] },
  SessionEvents,
  NearCaches,
  {
    provide: SessionManager,
    useFactory: (
      options: ResolvedSessionOptions,
      store: SessionStore,
      guard: StoreGuard,
      events: SessionEvents,
      nearCaches: NearCaches,
    ) => createManager(options, { store, guard, events, nearCaches }),
    inject: [SESSION_OPTIONS, SESSION_STORE, StoreGuard, SessionEvents, NearCaches],
  },
  EventWork,
  Observation,
  { provide: SessionHost, useFactory: createHost, inject: [SESSION_OPTIONS, SessionManager] },
  SocketHost,
  SessionSockets,
  SessionService,
  SessionGuard,
  SessionCsrfGuard,
  { provide: APP_INTERCEPTOR, useClass: SessionInterceptor },
  { provide: APP_FILTER, useClass: SessionExceptionFilter },
];

/** @param name of the sessions, if they are not those of `forRoot` */
export async function openStore(
  options: ResolvedSessionOptions,
  name?: string,
): Promise<SessionStore> {
  if (options.store === 'memory') {
    if (options.memoryByDefault) {
      logger.warn(
        'Sessions are kept in the memory of this process: other nodes do not see them, a restart ends them. Give `redis`, or `store: "memory"` to say that this is meant.',
      );
    }
    return new MemorySessionStore(options.clock, { ...options.events });
  }
  if (isCarried(options.store)) return openCarried(options.store, options, name);
  if (options.store !== 'redis') {
    const lacks = describeLacks(options.store.abilities);
    if (lacks !== undefined) logger.log(`The store: ${lacks}.`);
    return options.store;
  }
  return openRedisStore(options.redis!, {
    keyPrefix: options.keyPrefix,
    bootWithoutStore: options.bootWithoutStore,
    durability: options.durability,
    retention: options.events?.retention,
    ownConnection: options.nearCache !== undefined,
    now: () => options.clock.now(),
    onTrouble: (message) => logger.warn(message),
    onFacts: (message) => logger.log(message),
  });
}

/** Clients keep the sessions: nothing is opened but what tells which of them were ended. */
async function openCarried(
  store: CarriedSessionStore,
  options: ResolvedSessionOptions,
  name: string | undefined,
): Promise<SessionStore> {
  const { clock, cookie, codec, secrets, keyPrefix, maxBytes, bootWithoutStore } = options;
  const { form, maxCookies, isRevocable, isForgetful } = store.carries;
  logger.log(`Sessions are carried by their clients (${form}): ${describeLacks(store.abilities)}.`);
  if (!isRevocable) logger.warn(NOT_REVOCABLE);
  if (isForgetful) logger.warn(FORGETFUL);
  return store.open({
    clock,
    secrets,
    realm: `${cookie.name} ${name ?? ''}`,
    keyPrefix,
    codec,
    maxBytes,
    capacity: capacityOf(cookie, maxCookies),
    longestLife: (lasting) => (lasting ? options.rememberMe : options).absoluteTimeout,
    bootWithoutStore,
    onTrouble: (message) => logger.warn(message),
  });
}

const NOT_REVOCABLE =
  'Sessions cannot be revoked: a logout makes this browser forget its session, and no more; a copy of it that somebody else has serves until its idle window ends, and an answer that is under way brings it back. Give `revocation` to the store where that matters.';

const FORGETFUL =
  'What was ended is known to this process only (revocation: "memory"): other nodes do not refuse it, and after a restart it serves again until its time is over. Give `revocation: { redis }` where that matters.';

/** Before the first session is read: what the other library keeps is asked first. */
async function beginMigration(options: ResolvedSessionOptions): Promise<void> {
  const { migrateFrom, redis, clock, codec, touchAfter, cookie } = options;
  const onTrouble = (message: string) => logger.warn(message);
  await migrateFrom?.begin({ redis, clock, codec, touchAfter, cookie, onTrouble });
}

export function createGuard({ logoutRetry }: ResolvedSessionOptions): StoreGuard {
  return new StoreGuard({
    logoutRetry,
    onTrouble: (message) => logger.warn(message),
    onRelief: (message) => logger.log(message),
  });
}

/** Sessions that are kept for an outage, on each node. */
const KEPT_FOR_OUTAGE = 10_000;

interface Backend {
  readonly store: SessionStore;
  readonly guard: StoreGuard;
  readonly events: SessionEvents;
  readonly nearCaches: NearCaches;
}

export function createManager(
  options: ResolvedSessionOptions,
  { store, guard, events, nearCaches }: Backend,
  realm?: string,
): SessionManager {
  const { maxSessions, onLimit, staleFor, onStoreFailure } = options;
  const cache = new LRUCache<string, RecentValue>({ max: KEPT_FOR_OUTAGE });
  const recent = staleFor === undefined ? undefined : new RecentSessions(cache, staleFor);
  const lifetime = new SessionLifetime(options, recent);
  const records = new SessionRecords(createSealer(options));
  const { clock } = options;
  const onTrouble = (message: string, error?: unknown) => logger.warn(message, error ?? '');
  const news =
    options.events && new SessionNews({ ...options.events, clock, records, realm, onTrouble });
  const isOfRequests = isCarried(store);
  const seen = options.observer && !isOfRequests ? observed(store, options.observer, realm) : store;
  // What is in this process answers always.
  const guarded = options.store === 'memory' || isOfRequests ? seen : guard.before(seen);
  const nearCache = nearCaches.of(options, realm);
  if (nearCache && recent) {
    nearCache.onTold = (handle, isUnderWay) => recent.changed(handle, clock.now(), isUnderWay);
    const gap = describeStaleGap(options.nearCache, staleFor);
    if (gap !== undefined) logger.warn(gap);
  }
  const cached = nearCache ? nearCache.before(guarded) : guarded;
  const { migrateFrom } = options;
  const manager = new SessionManager({
    store: migrateFrom ? migrateFrom.before(cached) : cached,
    nearCache,
    onStoreFailure,
    tally: guard.tally,
    onEndFailed: (handle, end) => guard.retries.add(handle, end),
    realm,
    codec: options.codec,
    records,
    news,
    signer: new HmacSessionIdSigner(new Keyring(options.secrets)),
    lifetime,
    indexes: options.indexes,
    limit: maxSessions === Infinity ? undefined : new SessionLimit(maxSessions, onLimit, lifetime),
    clock,
    tokens: options.tokens && {
      issuer: options.tokens,
      assurance: options.assurance,
      realm,
      now: () => clock.now(),
    },
    maxBytes: options.maxBytes,
    grace: options.regenerateGrace,
    replayWindow: options.replayWindow,
    onReplay: options.onReplay,
    binding: options.binding && new ClientBinding(options.binding),
    validate: options.validate,
    observer: options.observer,
    onRejected: (reason, handle) => {
      options.observer?.rejected(reason, realm);
      // What is merely refused happens to everybody; what follows may be an attack.
      const level = SUSPICIOUS.has(reason) ? 'warn' : 'debug';
      logger[level](`Session refused: ${reason}${handle ? ` (handle ${handle})` : ''}`);
      events.reject(news, reason, handle);
      const told = async () => options.onRejected?.({ reason, handle, name: realm });
      void told().catch((error: unknown) => logger.error(error));
    },
  });
  migrateFrom?.attach(manager);
  return manager;
}

const SUSPICIOUS: ReadonlySet<RejectionReason> = new Set([
  'undecryptable',
  'replayed',
  'mismatch',
  'unproven',
]);

function createSealer({ encryption }: ResolvedSessionOptions): AesRecordSealer | undefined {
  return encryption && new AesRecordSealer(new Keyring(encryption.keys), encryption);
}

async function createHost(
  options: ResolvedSessionOptions,
  manager: SessionManager,
): Promise<SessionHost> {
  const now = () => options.clock.now();
  const devices = createDevices(options, now);
  const endpoint = devices && new DeviceEndpoint(devices, await DeviceProofReader.create(), now);
  const lane = createLane(options, manager);
  const channels = devices ? [...lane.channels, `cookie ${devices.cookieName}`] : lane.channels;
  return new SessionHost({ ...lane, channels, devices }, options, options.keyPrefix, endpoint);
}

function createDevices(
  { deviceBound, cookie, secrets, regenerateGrace }: ResolvedSessionOptions,
  now: () => number,
): DeviceSessions | undefined {
  if (!deviceBound) return undefined;
  const tickets = new DeviceTickets(new Keyring(secrets));
  return new DeviceSessions({ ...deviceBound, grace: regenerateGrace, tickets, cookie, now });
}

export function createLane(
  options: ResolvedSessionOptions,
  manager: SessionManager,
  name?: string,
): SessionLaneParts {
  const { assurance, policy, csrf, accounts: max, cookie, store, migrateFrom: migration } = options;
  const now = () => options.clock.now();
  const transports = options.transports.map((transport): SessionIdTransport => {
    if (transport === 'cookie' && isCarried(store)) {
      return new ChunkedCookieTransport(cookie, now, store.carries.maxCookies);
    }
    if (transport === 'cookie') return new CookieTransport(cookie, now);
    if (transport === 'x-auth-token') return new HeaderTransport('X-Auth-Token');
    if (transport === 'authorization') return new AuthorizationTransport();
    return transport;
  });
  const parked = { ...cookie, name: `${cookie.name}-accounts`, routing: undefined };
  const parking = max > 1 ? { transport: new CookieTransport(parked, now), max } : undefined;
  const channels = options.transports.map((one) =>
    one === 'cookie' ? `cookie ${cookie.name}` : one,
  );
  if (parking) channels.push(`cookie ${parked.name}`);
  return { name, manager, transports, channels, parking, migration, csrf, assurance, policy };
}
