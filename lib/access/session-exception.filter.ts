import { Catch, type ArgumentsHost } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { SessionError } from '../core/session.errors.js';
import {
  RETRY_AFTER,
  SessionHttpException,
  toHttpException,
} from '../http/session-http.exception.js';

/**
 * Answers errors of ours that come from an application's own guards, pipes and middleware, and
 * outages that no session of the request knows of, as those met by `SessionService`.
 */
@Catch(SessionError)
export class SessionExceptionFilter extends BaseExceptionFilter {
  override catch(error: SessionError | SessionHttpException, host: ArgumentsHost): void {
    if (host.getType() !== 'http') return;
    const exception = toHttpException(error) as SessionHttpException;
    const outage = exception.code === 'SESSION_STORE_UNAVAILABLE';
    const adapter = this.httpAdapterHost?.httpAdapter;
    const response: unknown = host.switchToHttp().getResponse();
    if (adapter && outage && !adapter.isHeadersSent(response)) {
      adapter.setHeader(response, 'Retry-After', RETRY_AFTER);
    }
    super.catch(exception, host);
  }
}
