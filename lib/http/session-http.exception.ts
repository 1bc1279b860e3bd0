import { HttpException, Logger } from '@nestjs/common';
import { STATUS_CODES } from 'node:http';
import {
  SessionDeviceError,
  SessionError,
  SessionRequiredError,
  SessionStepUpError,
  SessionStoreCannotError,
  type SessionErrorCode,
  type StepUp,
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
    body: object = errorBody(cause, status),
  ) {
    super(body, status, { cause });
  }
}

/** The same for GraphQL, whose drivers look for what a program can read in `extensions`. */
class SessionGraphqlException extends SessionHttpException {
  readonly extensions: object;

  constructor(code: SessionErrorCode, status: number, cause: SessionError) {
    // Without a status in it: else a driver puts a code of its own in the place of this one.
    const { statusCode: _, ...body } = errorBody(cause, status);
    super(code, status, cause, body);
    const { message: _message, error: _error, ...extensions } = body;
    this.extensions = extensions;
  }
}

interface ErrorBody {
  readonly statusCode: number;
  readonly code: SessionErrorCode;
  readonly message: string;
  readonly error: string | undefined;
  readonly stepUp?: StepUp;
}

/** What is said of an error in the body of an answer. */
export function errorBody(cause: SessionError, status: number): ErrorBody {
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
  return new SessionHttpException(error.code, noted(error), error);
}

/** An error of ours for GraphQL; any other error as it is. */
export function toGraphqlException(error: unknown): unknown {
  if (!(error instanceof SessionError)) return error;
  return new SessionGraphqlException(error.code, noted(error), error);
}

/** What a caller of a microservice gets of an error of ours: `{ status: 'error', code, message }`. */
export function toRpcError(error: SessionError): object {
  const { statusCode: _, error: _error, ...body } = errorBody(error, noted(error));
  return { status: 'error', ...body };
}

/** The status of an error. */
function noted(error: SessionError): number {
  const cannot = error instanceof SessionStoreCannotError;
  const status = cannot ? 501 : (STATUS[error.code] ?? 500);
  // Nest logs no HttpException, and the answer does not tell what is wrong.
  if (status === 500) logger.error(error);
  return status;
}
