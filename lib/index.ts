export { SessionModule, type SessionModuleAsyncOptions } from './session.module.js';
export { SessionService, type CreateSessionOptions } from './session.service.js';
export { SESSION_STORE } from './session.constants.js';

export {
  AllowAnonymous,
  InjectSessionStore,
  PassiveSession,
  Principal,
  RequireSession,
  Session,
  SessionId,
  type SessionParamOptions,
  SkipSession,
} from './access/session.decorators.js';
export { SessionGuard } from './access/session.guard.js';
export { SessionInterceptor } from './access/session.interceptor.js';
export { SessionHttpException } from './http/session-http.exception.js';

export type {
  AuthenticateOptions,
  SaveSessionOptions,
  SessionData,
  SessionKey,
  SessionValue,
} from './core/session.js';
export type { Clock } from './core/clock.js';
export type { Duration } from './core/duration.js';
export type { SessionCodec } from './core/session-codec.interface.js';
export type {
  SessionIdTransport,
  TransportRequest,
  TransportResponse,
} from './core/session-id-transport.interface.js';
export {
  VERSION_LENGTH,
  type LoadedValue,
  type LoadOptions,
  type SaveOptions,
  type SaveOutcome,
  type SessionStore,
  type StoredValue,
} from './core/session-store.interface.js';
export {
  SessionConflictError,
  SessionDamagedError,
  SessionDataError,
  SessionEndedError,
  SessionError,
  SessionForbiddenError,
  SessionFormatError,
  SessionNotLoadedError,
  SessionOptionsError,
  SessionRequiredError,
  SessionSerializationError,
  SessionStoreUnavailableError,
  SessionTooLargeError,
  SessionUnavailableError,
  type SessionErrorCode,
} from './core/session.errors.js';
export type {
  ExcludedRoutes,
  SessionCookieOptions,
  SessionModuleOptions,
  SessionModuleOptionsFactory,
  SessionRoutes,
  TransportName,
} from './options/session-module.options.js';
export {
  MemorySessionStore,
  type MemoryStoreOptions,
} from './stores/memory/memory-session.store.js';
export type { RedisClient, RedisConnectionOptions } from './stores/redis/redis-client.js';
export { RedisSessionStore, type RedisStoreOptions } from './stores/redis/redis-session.store.js';
