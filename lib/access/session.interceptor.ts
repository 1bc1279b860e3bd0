import {
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { ROUTE_ARGS_METADATA, SSE_METADATA } from '@nestjs/common/constants.js';
import { RouteParamtypes } from '@nestjs/common/enums/route-paramtypes.enum.js';
import { catchError, finalize, firstValueFrom, ReplaySubject, tap, type Observable } from 'rxjs';
import { LiveSession } from '../core/live-session.js';
import { SessionStoreUnavailableError } from '../core/session.errors.js';
import type { SessionCorridor } from '../http/session-corridor.js';
import { challengeOf, toHttpException } from '../http/session-http.exception.js';
import { corridorIn, sessionOf, traitsOf } from './session-of.js';

/**
 * Extends the session's time to live on each request that uses it, at most once per `touchAfter`,
 * and not on routes with `@PassiveSession()`. A session that is loaded while the route is known
 * was extended by the load itself, in the same command; this makes up for one that was loaded
 * before (`loading: 'eager'`). Registered by the module.
 */
@Injectable()
export class SessionInterceptor implements NestInterceptor {
  intercept(
    context: ExecutionContext,
    next: CallHandler,
  ): Observable<unknown> | Promise<Observable<unknown>> {
    const corridor = corridorIn(context);
    if (!corridor) return next.handle();
    const rethrow = (error: unknown): never => {
      if (error instanceof SessionStoreUnavailableError) corridor.main.unavailable = true;
      corridor.challenge = challengeOf(error);
      throw toHttpException(error);
    };
    const before = this.#prepare(context, corridor);
    const handle = () => this.#handle(context, corridor, next).pipe(catchError(rethrow));
    return before ? before.then(handle, rethrow) : handle();
  }

  /**
   * Nest sends the headers of an event stream without waiting for its handler: where that is
   * asynchronous, they wait until it emits, ends or fails, so that its changes are stored before.
   */
  #handle(
    context: ExecutionContext,
    corridor: SessionCorridor,
    next: CallHandler,
  ): Observable<unknown> {
    const handler = context.getHandler();
    const isAsync = handler.constructor.name === 'AsyncFunction';
    if (!isAsync || !Reflect.hasMetadata(SSE_METADATA, handler)) return next.handle();
    const emitted = new ReplaySubject<void>(1);
    corridor.handling = firstValueFrom(emitted, { defaultValue: undefined });
    return next.handle().pipe(
      tap(() => emitted.next()),
      finalize(() => emitted.complete()),
    );
  }

  /** What has to be waited for before the handler; usually nothing. */
  #prepare(context: ExecutionContext, corridor: SessionCorridor): Promise<unknown> | undefined {
    const { passive, skip, onStoreFailure, name } = traitsOf(context);
    if (skip) {
      corridor.skipped = true;
      return undefined;
    }
    // For whoever loads the session in the handler, by `SessionService`.
    if (onStoreFailure) {
      LiveSession.stateOf(corridor.lane(name).session).onStoreFailure = onStoreFailure;
    }
    if (corridor.state?.loaded && corridor.state.passive && !passive) {
      // Only now it is known that the request counts, and takes a new id along if one is due.
      return corridor.session.use();
    }
    return readsNestsOwnSession(context) ? sessionOf(context) : undefined;
  }
}

const readers = new WeakMap<object, boolean>();

/** Nest's own `@Session()` hands over `req.session` at once: it must be loaded by then. */
function readsNestsOwnSession(context: ExecutionContext): boolean {
  const handler = context.getHandler();
  let reads = readers.get(handler);
  if (reads === undefined) {
    const params: unknown = Reflect.getMetadata(
      ROUTE_ARGS_METADATA,
      context.getClass(),
      handler.name,
    );
    const kinds = Object.keys(params ?? {}).map((key) => Number(key.split(':')[0]));
    reads = kinds.includes(RouteParamtypes.SESSION);
    readers.set(handler, reads);
  }
  return reads;
}
