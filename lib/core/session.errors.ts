/** Every way in which this library can fail; `switch` over it narrows completely. */
export type SessionErrorCode =
  | 'SESSION_OPTIONS_INVALID'
  | 'SESSION_REQUIRED'
  | 'SESSION_FORBIDDEN'
  | 'SESSION_STEP_UP_REQUIRED'
  | 'SESSION_CSRF_REFUSED'
  | 'SESSION_DEVICE_UNPROVEN'
  | 'SESSION_DEVICE_SKIPPED'
  | 'SESSION_LIMIT_REACHED'
  | 'SESSION_CONFLICT'
  | 'SESSION_TOO_LARGE'
  | 'SESSION_STORE_UNAVAILABLE'
  | 'SESSION_UNCONFIRMED'
  | 'SESSION_FORMAT_UNSUPPORTED'
  | 'SESSION_DAMAGED'
  | 'SESSION_DATA_INVALID'
  | 'SESSION_NOT_SERIALIZABLE'
  | 'SESSION_NOT_LOADED'
  | 'SESSION_ENDED'
  | 'SESSION_UNAVAILABLE';

/**
 * Base of all errors of this library. Messages say what happened and how to mend it; they never
 * contain a session id, a cookie or session data.
 *
 * @example
 * if (error instanceof SessionError && error.code === 'SESSION_CONFLICT') retry();
 */
export abstract class SessionError extends Error {
  abstract readonly code: SessionErrorCode;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A wrong option; raised at boot. Names the option, what is wrong with it and the remedy. */
export class SessionOptionsError extends SessionError {
  readonly code = 'SESSION_OPTIONS_INVALID';
  constructor(readonly problems: readonly string[]) {
    super(`SessionModule cannot start:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
  }
}

/** An authenticated session is needed and there is none (HTTP 401). */
export class SessionRequiredError extends SessionError {
  readonly code = 'SESSION_REQUIRED';
  constructor(message = 'This needs an authenticated session: log in first.') {
    super(message);
  }
}

/** The session is authenticated, but may not do this (HTTP 403). */
export class SessionForbiddenError extends SessionError {
  readonly code = 'SESSION_FORBIDDEN';
  constructor(message = 'The session is not allowed to do this.') {
    super(message);
  }
}

/** What would let a session do what it may not do yet. */
export interface StepUp {
  /** Log in again: the last login may be at most this many seconds ago. */
  readonly maxAge?: number;
  /** Prove one of these factors, and call `elevate` with it. */
  readonly factors?: readonly string[];
  /** Reach this authenticator assurance level of NIST SP 800-63B, 1 to 3. */
  readonly assurance?: number;
}

/**
 * The principal is logged in, but must prove more or prove it again (HTTP 401, with a challenge as in
 * RFC 9470). {@link stepUp} says what; it is in the answer, too.
 */
export class SessionStepUpError extends SessionError {
  readonly code = 'SESSION_STEP_UP_REQUIRED';
  constructor(
    message: string,
    readonly stepUp: StepUp,
  ) {
    super(message);
  }
}

/**
 * The session is bound to a device (option `deviceBound`), and the request does not come from it: the cookie
 * was stolen, or the browser has lost its key (HTTP 401).
 */
export class SessionDeviceError extends SessionError {
  readonly code = 'SESSION_DEVICE_UNPROVEN';
  constructor(
    message = 'The session is bound to a device, and this request does not come from it: log in again.',
  ) {
    super(message);
  }
}

/**
 * The session is bound to a device, and the browser says that it could not prove it just now (HTTP 503): the
 * server or the device's key did not answer. Unlike a 401 it makes no client log its user out.
 */
export class SessionDeviceSkippedError extends SessionError {
  readonly code = 'SESSION_DEVICE_SKIPPED';
  constructor() {
    super('The browser could not prove just now that it is the device of its session: try again.');
  }
}

/** Another site may have made the browser send this request (HTTP 403). Nothing was done. */
export class SessionCsrfError extends SessionError {
  readonly code = 'SESSION_CSRF_REFUSED';
}

/** The principal has as many sessions as `maxSessions` allows, and `onLimit` is `'reject'` (HTTP 409). */
export class SessionLimitError extends SessionError {
  readonly code = 'SESSION_LIMIT_REACHED';
  constructor(readonly maxSessions: number) {
    super(`There are ${maxSessions} sessions already, which is the limit: end one of them first.`);
  }
}

/** Others changed the session at the same time, and the change could not be replayed (HTTP 409). */
export class SessionConflictError extends SessionError {
  readonly code = 'SESSION_CONFLICT';
  constructor(message = 'The session was changed by another request at the same time: try again.') {
    super(message);
  }
}

/** The encoded session is larger than `maxBytes`; the stored one is unchanged (HTTP 413). */
export class SessionTooLargeError extends SessionError {
  readonly code = 'SESSION_TOO_LARGE';
  constructor(
    readonly bytes: number,
    readonly maxBytes: number,
    /** The largest parts of it, where that is told: attributes of the data by name, never with their values. */
    readonly largest: readonly LargePart[] = [],
    remedy = 'or raise "maxBytes"',
  ) {
    const parts = largest.map((part) => `${part.name} (${part.bytes} bytes)`).join(', ');
    super(
      `The session would take ${bytes} bytes, the limit is ${maxBytes}` +
        `${parts && `; the largest in it are ${parts}`}: keep large values elsewhere ` +
        `and store a reference, ${remedy}.`,
    );
  }
}

/** Part of a session that takes much room. */
export interface LargePart {
  readonly name: string;
  /** In the text that is stored, before any compression. */
  readonly bytes: number;
}

/**
 * The store did not answer, or refused (HTTP 503). Says nothing about whether a session exists:
 * "not found" is never reported this way, and an outage never as "not found".
 */
export class SessionStoreUnavailableError extends SessionError {
  readonly code: 'SESSION_STORE_UNAVAILABLE' | 'SESSION_UNCONFIRMED' = 'SESSION_STORE_UNAVAILABLE';
  /**
   * @param reason what happened, in a word or two
   * @param remedy what to do about it
   * @param answered the store itself refused: it can be reached, and may well do something else
   */
  constructor(
    readonly reason: string,
    remedy = 'try again shortly',
    readonly answered = false,
  ) {
    super(`The session store is unavailable (${reason}): ${remedy}.`);
  }
}

/**
 * A login, a logout or a renewal was carried out, but as many replicas as the option `durability` asks for
 * did not confirm it in time (HTTP 503): it is lost if the master fails now. To do it again does no
 * harm.
 */
export class SessionUnconfirmedError extends SessionStoreUnavailableError {
  override readonly code = 'SESSION_UNCONFIRMED';
  constructor() {
    super('not confirmed by replicas', 'do it again', true);
  }
}

/** A record written by a newer version of this library; it is left as it is (HTTP 503). */
export class SessionFormatError extends SessionError {
  readonly code = 'SESSION_FORMAT_UNSUPPORTED';
  constructor(message = 'The session was written in a newer record format: upgrade this node.') {
    super(message);
  }
}

/** The stored data cannot be decoded; the session is ended, the next request begins a new one (HTTP 503). */
export class SessionDamagedError extends SessionError {
  readonly code = 'SESSION_DAMAGED';
  constructor() {
    super('The stored session cannot be decoded and was ended: try again.');
  }
}

/** The data violates the application's `schema`; nothing was written. */
export class SessionDataError extends SessionError {
  readonly code = 'SESSION_DATA_INVALID';
  /** @param violations path and rule of each violation, never a value */
  constructor(readonly violations: readonly string[]) {
    super(`The session data violates the schema: ${violations.join('; ')}. Nothing was written.`);
  }
}

/** A value that the codec would lose or change, such as a function, a `Map` or a cycle. */
export class SessionSerializationError extends SessionError {
  readonly code = 'SESSION_NOT_SERIALIZABLE';
  constructor(where: string, what: string) {
    super(
      `The session attribute "${where}" holds ${what}, which cannot be stored: use JSON values ` +
        `(object, array, string, finite number, boolean, null), or give the module a codec that can.`,
    );
  }
}

/** The session was read synchronously before it was loaded. */
export class SessionNotLoadedError extends SessionError {
  readonly code = 'SESSION_NOT_LOADED';
  constructor() {
    super(
      'The session is not loaded yet: use @Session() or a guard, `await session.load()` first, or ' +
        "set `loading: 'eager'` if other middleware reads req.session.",
    );
  }
}

/** The session was changed after it was ended, by `destroy()` or by another request. */
export class SessionEndedError extends SessionError {
  readonly code = 'SESSION_ENDED';
  constructor() {
    super('The session has ended; it cannot be changed any more.');
  }
}

/** There is no session here, or it cannot do what was asked of it here. */
export class SessionUnavailableError extends SessionError {
  readonly code = 'SESSION_UNAVAILABLE';
}

/** The store was asked for something that it has declared not to be able to do. Nothing was done. */
export class SessionStoreCannotError extends SessionUnavailableError {
  /** @param remedy why it cannot, and what to do instead */
  constructor(remedy: string) {
    super(`The session store cannot do this: ${remedy}.`);
  }
}
