export {
  SessionModule,
  type SessionFeatureAsyncOptions,
  type SessionModuleAsyncOptions,
} from './session.module.js';
export { SessionService, type CreateSessionOptions } from './session.service.js';
export { getSessionServiceToken, SESSION_STORE } from './session.constants.js';

export {
  Accounts,
  AllowAnonymous,
  Consistency,
  InjectSessionService,
  InjectSessionStore,
  OnStoreFailure,
  PassiveSession,
  Principal,
  RequireSession,
  Session,
  SessionId,
  type SessionParamOptions,
  SkipSession,
  UseSession,
} from './access/session.decorators.js';
export {
  RequireAssurance,
  RequireFactor,
  RequireFresh,
  RequirePermission,
  RequireRole,
  type AnyOrAll,
} from './access/require.decorators.js';
export { CsrfToken, SkipCsrf } from './access/csrf.decorators.js';
export { SessionCsrfGuard } from './access/csrf.guard.js';
export { Logout, type ClearSiteData, type LogoutOptions } from './access/logout.decorators.js';
export { OnSessionEvent, type OnSessionEventOptions } from './events/event.decorators.js';
export {
  SessionEvents,
  type EventStreamOptions,
  type ResumeOptions,
} from './events/session-events.js';
export type { Follower } from './events/session-fates.js';
export {
  SessionSockets,
  type PrincipalSockets,
  type PrincipalSocketsOptions,
} from './sockets/session-sockets.js';
export { sessionReferenceOf } from './access/session-reference-of.js';
export { SessionGuard } from './access/session.guard.js';
export { SessionInterceptor } from './access/session.interceptor.js';
export type { SessionAccount, SessionAccounts } from './http/session-accounts.js';
export { SessionHttpException } from './http/session-http.exception.js';

export type {
  AuthenticateOptions,
  SaveSessionOptions,
  SessionData,
  SessionGrantOptions,
  SessionKey,
  SessionTokenOptions,
  SessionValue,
  SwitchPrincipalOptions,
} from './core/session.js';
export type { RejectionReason, ReplayPolicy, SessionRejection } from './core/rejection.js';
export type {
  SessionEvent,
  SessionEventGap,
  SessionEventReason,
  SessionEventType,
} from './core/session.events.js';
export type { PrincipalCall } from './core/session-news.js';
export type { News, NewsKind } from './core/news.interface.js';
export type {
  AwaitedSample,
  Hearing,
  Silence,
  StoreNews,
  Sweep,
  TellingSessionStore,
  Told,
} from './core/store-news.interface.js';
export type { DeviceStatus } from './core/session-device.js';
export type { BindingReport, BoundProperty, OnMismatch } from './core/session-binding.js';
export type { Clock } from './core/clock.js';
export type {
  ListedSession,
  ListSessionsOptions,
  PrincipalSessions,
} from './core/principal-sessions.js';
export type { SessionClient } from './core/session-identity.js';
export type { IndexedSession, SessionIndexer } from './core/session-draft.js';
export type { SessionQuery } from './core/session-index.js';
export type { LimitedSession, MaxSessions } from './core/session-limit.js';
export type { Place } from './core/session-places.js';
export type { Duration } from './core/duration.js';
export type { SessionCodec } from './core/session-codec.interface.js';
export type {
  SessionIdTransport,
  TransportRequest,
  TransportResponse,
} from './core/session-id-transport.interface.js';
export type {
  ExpiryFigures,
  SessionFigures,
  SessionObserver,
  SessionStep,
} from './core/session-observer.interface.js';
export type {
  MigrationParts,
  MigrationVisit,
  SessionMigration,
} from './core/session-migration.interface.js';
export type {
  SessionTokenIssuer,
  SessionTokenSubject,
  SessionTokenTerms,
} from './core/session-token-issuer.interface.js';
export type { RevocationAbility, StoreAbilities } from './core/store-abilities.js';
export type { FencedSessionStore } from './core/fenced-store.interface.js';
export type { SessionConsistency } from './core/consistency.js';
export type {
  CopyKeeper,
  FollowedSessionStore,
  Following,
} from './core/followed-store.interface.js';
export type { NearCacheFigures } from './core/near-cache-figures.js';
export type { OutageCounters } from './core/outage-counters.js';
export type { StoreFailurePolicy } from './core/store-failure.js';
export {
  VERSION_LENGTH,
  type Admission,
  type CreateOptions,
  type EndedInPlace,
  type FollowOptions,
  type IndexedSessionStore,
  type LoadedValue,
  type LoadOptions,
  type NearRead,
  type SessionCopy,
  type OnLimit,
  type PlacedValue,
  type PlaceLimit,
  type PlaceRange,
  type Replacement,
  type ReplaceOptions,
  type SaveOptions,
  type SaveOutcome,
  type SessionStore,
  type Standing,
  type StoredValue,
  type WriteOptions,
} from './core/session-store.interface.js';
export {
  SessionConflictError,
  SessionCsrfError,
  SessionDamagedError,
  SessionDataError,
  SessionDeviceError,
  SessionDeviceSkippedError,
  SessionEndedError,
  SessionError,
  SessionForbiddenError,
  SessionFormatError,
  SessionLimitError,
  SessionNotLoadedError,
  SessionOptionsError,
  SessionRequiredError,
  SessionSerializationError,
  SessionStepUpError,
  SessionStoreCannotError,
  SessionStoreUnavailableError,
  SessionTooLargeError,
  SessionUnconfirmedError,
  SessionUnavailableError,
  type LargePart,
  type SessionErrorCode,
  type StepUp,
} from './core/session.errors.js';
export type {
  ExcludedRoutes,
  RememberMeOptions,
  SessionCookieOptions,
  SessionDurabilityOptions,
  SessionFeatureOptions,
  SessionModuleOptions,
  SessionModuleOptionsFactory,
  SessionPolicy,
  SessionRoutes,
  TimeoutPreset,
  TransportName,
} from './options/session-module.options.js';
export type { SessionNearCacheOptions } from './options/near-cache.options.js';
export type { SessionEventsOptions } from './options/session-events.options.js';
export type {
  SessionBindingOptions,
  SessionCsrfOptions,
  SessionDeviceOptions,
  SessionEncryptionOptions,
} from './options/session-security.options.js';
export {
  MemorySessionStore,
  type MemoryStoreOptions,
} from './stores/memory/memory-session.store.js';
export type {
  RedisClient,
  RedisClusterOptions,
  RedisConnectionOptions,
  RedisNode,
  RedisSentinelOptions,
} from './stores/redis/redis-client.js';
export { RedisSessionStore, type RedisStoreOptions } from './stores/redis/redis-session.store.js';
