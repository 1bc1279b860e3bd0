import type { NestInterceptor } from '@nestjs/common';
import { catchError } from 'rxjs';
import { DetachedCorridor } from '../http/detached-corridor.js';
import { handleMessage } from './message-handling.js';
import { corridorIn, toException } from './session-of.js';

/**
 * What `SessionInterceptor` does for messages, where Nest does not call that: up to version 11 nothing that
 * is global runs in gateways. Keeps nothing, so one serves all applications.
 */
export const messageInterceptor: NestInterceptor = {
  async intercept(context, next) {
    const corridor = corridorIn(context);
    if (!(corridor instanceof DetachedCorridor) || corridor.isHandled) return next.handle();
    const rethrow = (error: unknown): never => {
      throw toException(error, context);
    };
    const handled = handleMessage(context, corridor, next);
    return handled.then((emitted) => emitted.pipe(catchError(rethrow)), rethrow);
  },
};
