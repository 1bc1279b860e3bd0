/** Injects the options as the application gave them. */
export const SESSION_MODULE_OPTIONS = Symbol.for('nestjs-distributed-session/module-options');
/** Injects the options as they are in force. */
export const SESSION_OPTIONS = Symbol.for('nestjs-distributed-session/options');
/** Injects the `SessionService` of the sessions that `forFeature` has named. */
export const getSessionServiceToken = (name: string): symbol =>
  Symbol.for(`nestjs-distributed-session/service/${name}`);
/** Injects the store. */
export const SESSION_STORE = Symbol.for('nestjs-distributed-session/store');

export const ALLOW_ANONYMOUS = 'nestjs-distributed-session/allow-anonymous';
export const CONSISTENCY = 'nestjs-distributed-session/consistency';
export const LOGOUT = 'nestjs-distributed-session/logout';
export const ON_STORE_FAILURE = 'nestjs-distributed-session/on-store-failure';
export const ON_SESSION_EVENT = 'nestjs-distributed-session/on-event';
export const PASSIVE_SESSION = 'nestjs-distributed-session/passive';
export const REQUIREMENTS = 'nestjs-distributed-session/requirements';
export const SESSION_NAME = 'nestjs-distributed-session/name';
export const SKIP_CSRF = 'nestjs-distributed-session/skip-csrf';
export const SKIP_SESSION = 'nestjs-distributed-session/skip';
