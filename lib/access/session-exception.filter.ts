import { Catch, type ArgumentsHost } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { throwError } from 'rxjs';
import { SessionError, SessionStoreUnavailableError } from '../core/session.errors.js';
import {
  challengeOf,
  RETRY_AFTER,
  toGraphqlException,
  toHttpException,
  toRpcError,
} from '../http/session-http.exception.js';

/**
 * Answers errors of ours that come from an application's own guards and middleware, and all of them where
 * a microservice is called. Over sockets the error goes on as it is.
 */
@Catch(SessionError)
export class SessionExceptionFilter extends BaseExceptionFilter {
  override catch(error: SessionError, host: ArgumentsHost): unknown {
    const type = host.getType<string>();
    if (type === 'graphql') return toGraphqlException(error);
    if (type === 'rpc') return throwError(() => toRpcError(error));
    if (type === 'http') this.#answer(error, host);
    return undefined;
  }

  #answer(error: SessionError, host: ArgumentsHost): void {
    const outage = error instanceof SessionStoreUnavailableError;
    const adapter = this.httpAdapterHost?.httpAdapter;
    const response: unknown = host.switchToHttp().getResponse();
    const challenge = challengeOf(error);
    if (adapter && !adapter.isHeadersSent(response)) {
      if (outage) adapter.setHeader(response, 'Retry-After', RETRY_AFTER);
      if (challenge !== undefined) adapter.setHeader(response, 'WWW-Authenticate', challenge);
    }
    super.catch(toHttpException(error), host);
  }
}
