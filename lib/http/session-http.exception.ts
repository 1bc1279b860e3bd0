import { HttpException, Logger } from '@nestjs/common';
import { STATUS_CODES } from 'node:http';
import {
  SessionDeviceError,
  SessionError,
  SessionRequiredError,
  SessionStepUpError,
  type SessionErrorCode,
} from '../core/session.errors.js';

/** Which status an error of ours has at the face; what is not here is the server's own fault: 500. */
const STATUS: Partial<Record<SessionErrorCode, number>> = {
  SESSION_REQUIRED: 401,
  SESSION_STEP_UP_REQUIRED: 401,
  SESSION_DEVICE_UNPROVEN: 401,
  SESSION_FORBIDDEN: 403,
  SESSION_CSRF_REFUSED: 403,
  SESSION_LIMIT_REACHED: 409,
  SESSION_CONFLICT: 409,
  SESSION_TOO_LARGE: 413,
  SESSION_DEVICE_SKIPPED: 503,
  SESSION_STORE_UNAVAILABLE: 503,
  SESSION_UNCONFIRMED: 503,
  SESSION_FORMAT_UNSUPPORTED: 503,
  SESSION_DAMAGED: 503,
};

/** Seconds after which an outage may be over; a connection is tried again at least twice in that time. */
export const RETRY_AFTER = '1';

const logger = new Logger('SessionModule');

/**
 * An error of this library as an answer: the status, and a body with a `code` that a program can
 * read. The original error is its `cause`.
 */
export class SessionHttpException extends HttpException {
  constructor(
    readonly code: SessionErrorCode,
    status: number,
    cause: SessionError,
  ) {
    super(errorBody(cause, status), status, { cause });
  }
}

/** What is said of an error in the body of an answer. */
export function errorBody(cause: SessionError, status: number): object {
  const error = STATUS_CODES[status];
  const message = status === 500 ? 'Internal server error' : cause.message;
  const stepUp = cause instanceof SessionStepUpError ? { stepUp: cause.stepUp } : {};
  return { statusCode: status, code: cause.code, message, error, ...stepUp };
}

/**
 * What a 401 asks for, as the value of `WWW-Authenticate`: a login, or, in the words of RFC 9470, to prove
 * more or once more. `undefined` for errors that no proof helps with.
 */
export function challengeOf(error: unknown): string | undefined {
  const login = error instanceof SessionRequiredError || error instanceof SessionDeviceError;
  if (login) return 'Session error="login_required"';
  if (!(error instanceof SessionStepUpError)) return undefined;
  const { maxAge, factors, assurance } = error.stepUp;
  const asked = [
    'Session error="insufficient_user_authentication"',
    maxAge !== undefined && `max_age="${maxAge}"`,
    factors && `factor="${factors.join(' ')}"`,
    assurance !== undefined && `acr_values="aal${assurance}"`,
  ];
  return asked.filter(Boolean).join(', ');
}

/** An error of ours with its status; any other error as it is. The only place that knows statuses. */
export function toHttpException(error: unknown): unknown {
  if (!(error instanceof SessionError)) return error;
  const status = STATUS[error.code] ?? 500;
  // Nest logs no HttpException, and the answer does not tell what is wrong.
  if (status === 500) logger.error(error);
  return new SessionHttpException(error.code, status, error);
}
