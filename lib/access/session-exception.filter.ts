import { Catch, type ArgumentsHost } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { SessionError } from '../core/session.errors.js';
import { toHttpException } from '../http/session-http.exception.js';

/** Answers errors of ours that come from an application's own guards, pipes and middleware. */
@Catch(SessionError)
export class SessionExceptionFilter extends BaseExceptionFilter {
  override catch(error: SessionError, host: ArgumentsHost): void {
    super.catch(toHttpException(error), host);
  }
}
