/** Injects the options as the application gave them. */
export const SESSION_MODULE_OPTIONS = Symbol.for('nestjs-distributed-session/module-options');
/** Injects the options as they are in force. */
export const SESSION_OPTIONS = Symbol.for('nestjs-distributed-session/options');
/** Injects the store. */
export const SESSION_STORE = Symbol.for('nestjs-distributed-session/store');

export const ALLOW_ANONYMOUS = 'nestjs-distributed-session/allow-anonymous';
export const PASSIVE_SESSION = 'nestjs-distributed-session/passive';
export const SKIP_SESSION = 'nestjs-distributed-session/skip';
