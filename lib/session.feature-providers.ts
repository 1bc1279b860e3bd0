import type { FactoryProvider, Provider } from '@nestjs/common';
import type { Clock } from './core/clock.js';
import { isCarried } from './core/carried-store.interface.js';
import type { SessionStore } from './core/session-store.interface.js';
import { SessionOptionsError } from './core/session.errors.js';
import type { TellingSessionStore } from './core/store-news.interface.js';
import { SessionEvents } from './events/session-events.js';
import { SessionHost } from './http/session-host.js';
import { describeSessionPolicy } from './options/describe-session-policy.js';
import {
  resolveSessionOptions,
  type ResolvedSessionOptions,
} from './options/resolve-session-options.js';
import { completeEvents, type ResolvedEventsOptions } from './options/session-events.options.js';
import type {
  SessionFeatureOptions,
  SessionModuleOptions,
} from './options/session-module.options.js';
import {
  getSessionServiceToken,
  SESSION_MODULE_OPTIONS,
  SESSION_OPTIONS,
  SESSION_STORE,
} from './session.constants.js';
import { EventWork } from './session.event-work.js';
import { NearCaches } from './session.near-caches.js';
import { Observation } from './session.observation.js';
import { createGuard, createLane, createManager, logger, openStore } from './session.providers.js';
import { SessionService } from './session.service.js';
import { StoreGuard } from './stores/guard/store-guard.js';
import { MemorySessionStore } from './stores/memory/memory-session.store.js';
import { isRedisClient } from './stores/redis/redis-client.js';
import { RedisSessionStore } from './stores/redis/redis-session.store.js';

/** What `SessionModule.forFeature` consists of. */
export const featureProviders = (
  name: string,
  options: Pick<FactoryProvider, 'inject' | 'useFactory'>,
): Provider[] => {
  const feature = Symbol(`session feature ${name}`);
  const featureOptions = Symbol(`options of session feature ${name}`);
  return [
    { provide: featureOptions, ...options },
    {
      provide: feature,
      useFactory: (
        host: SessionHost,
        main: ResolvedSessionOptions,
        store: SessionStore,
        guard: StoreGuard,
        events: SessionEvents,
        work: EventWork,
        nearCaches: NearCaches,
        observation: Observation,
        own: SessionFeatureOptions,
        given?: SessionModuleOptions,
      ) =>
        openFeature(name, own, {
          host,
          main,
          store,
          guard,
          events,
          work,
          nearCaches,
          observation,
          given,
        }),
      inject: [
        SessionHost,
        SESSION_OPTIONS,
        SESSION_STORE,
        StoreGuard,
        SessionEvents,
        EventWork,
        NearCaches,
        Observation,
        featureOptions,
        { token: SESSION_MODULE_OPTIONS, optional: true },
      ],
    },
    {
      provide: getSessionServiceToken(name),
      useFactory: ({ service }: SessionFeature) => service,
      inject: [feature],
    },
  ];
};

/** Named sessions, as far as Nest has to know them. */
interface SessionFeature {
  readonly service: SessionService;
  onApplicationShutdown(): Promise<void>;
}

interface Root {
  readonly host: SessionHost;
  readonly main: ResolvedSessionOptions;
  readonly store: SessionStore;
  readonly guard: StoreGuard;
  readonly events: SessionEvents;
  readonly work: EventWork;
  readonly nearCaches: NearCaches;
  readonly observation: Observation;
  readonly given?: SessionModuleOptions | undefined;
}

async function openFeature(
  name: string,
  options: SessionFeatureOptions,
  { host, main, store, guard: shared, events: hearing, work, nearCaches, observation, given }: Root,
): Promise<SessionFeature> {
  const keyPrefix = options.keyPrefix ?? `${main.keyPrefix}.${name}`;
  const ownStore = options.redis !== undefined || options.store !== undefined;
  // A near cache that was meant for Redis is none for another store.
  const hasNothingNear =
    (!ownStore && main.store === 'memory') ||
    (options.store !== undefined && options.nearCache === undefined);
  const { name: _, ...cookie } = given?.cookie ?? {};
  const events = completeEvents(options.events ?? given?.events);
  const inherited = { ...given, redis: undefined, store: undefined, ...NOT_INHERITED };
  const resolved = resolveSessionOptions(
    {
      ...inherited,
      clock: main.clock,
      ...options,
      keyPrefix,
      // A name that the application gave to the others is the beginning of this one.
      cookie: { ...cookie, ...nameOf(given, name), ...options.cookie },
      ...(!ownStore && { store: storeBeside(store, keyPrefix, main.clock, events) }),
      // What is in this process already needs no copies.
      ...(hasNothingNear && { nearCache: false }),
    },
    undefined,
    name,
  );
  const isHandedIn = isRedisClient(main.redis) || isRedisClient(Object(main.redis).client);
  if (resolved.nearCache && !ownStore && !main.nearCache && isHandedIn) {
    throw new SessionOptionsError([
      `forFeature('${name}') has nearCache, and forRoot a client that was handed in, over which others may write: give nearCache to forRoot as well, which then opens a connection of its own`,
    ]);
  }
  const opened = await openStore(resolved, name);
  const guard = ownStore ? createGuard(resolved) : shared;
  const manager = createManager(
    resolved,
    { store: opened, guard, events: hearing, nearCaches },
    name,
  );
  try {
    host.add(createLane(resolved, manager, name), ownStore ? undefined : keyPrefix);
  } catch (error) {
    if (ownStore) await opened.close?.();
    throw error;
  }
  await work.listenTo(resolved, opened, manager, name);
  observation.begin(resolved, { manager, store: opened, guard }, name);
  const where = ownStore ? undefined : 'the store of forRoot';
  logger.log(`forFeature('${name}'): ${describeSessionPolicy(resolved, where)}`);
  return {
    service: new SessionService(manager),
    onApplicationShutdown: async () => {
      (opened as Partial<TellingSessionStore>).news?.close?.();
      if (!ownStore && !isCarried(opened)) return;
      guard.retries.close();
      await opened.close?.();
    },
  };
}

/** What concerns requests as such, browsers or the store of forRoot, and is said once. */
const NOT_INHERITED = {
  durability: undefined,
  deviceBound: undefined,
  migrateFrom: undefined,
  forRoutes: undefined,
  exclude: undefined,
  loading: undefined,
};

const nameOf = (given: SessionModuleOptions | undefined, feature: string) =>
  given?.cookie?.name === undefined ? {} : { name: `${given.cookie.name}-${feature}` };

/** Named sessions live apart from all others: an id of one kind opens none of another. */
function storeBeside(
  store: SessionStore,
  keyPrefix: string,
  clock: Clock,
  events: ResolvedEventsOptions | undefined,
): SessionStore {
  if (store instanceof RedisSessionStore) return store.withPrefix(keyPrefix, events?.retention);
  if (isCarried(store)) return store.origin;
  if (store instanceof MemorySessionStore) return new MemorySessionStore(clock, { ...events });
  throw new SessionOptionsError([
    'forFeature cannot keep its sessions apart in the store of forRoot: give it a `store` or `redis` of its own',
  ]);
}
