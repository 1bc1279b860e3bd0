import {
  Inject,
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { ROUTE_ARGS_METADATA } from '@nestjs/common/constants.js';
import { RouteParamtypes } from '@nestjs/common/enums/route-paramtypes.enum.js';
import {
  catchError,
  finalize,
  firstValueFrom,
  map,
  merge,
  ReplaySubject,
  takeUntil,
  tap,
  type Observable,
} from 'rxjs';
import { LiveSession } from '../core/live-session.js';
import { SessionStoreUnavailableError } from '../core/session.errors.js';
import type { SessionState } from '../core/session-state.js';
import { SessionEvents } from '../events/session-events.js';
import type { SessionCorridor } from '../http/session-corridor.js';
import { DetachedCorridor } from '../http/detached-corridor.js';
import { SessionHost } from '../http/session-host.js';
import { challengeOf } from '../http/session-http.exception.js';
import { followLane } from './lane-following.js';
import { handleMessage } from './message-handling.js';
import { isAsyncIterable, SessionBoundIterator } from './session-bound-iterator.js';
import { corridorIn, sessionOf, toException, traitsOf } from './session-of.js';

/**
 * Extends the session's time to live on each request that uses it, at most once per `touchAfter`,
 * and not on routes with `@PassiveSession()`. A session that is loaded while the route is known
 * was extended by the load itself, in the same command; this makes up for one that was loaded
 * before (`loading: 'eager'`). Registered by the module.
 */
@Injectable()
export class SessionInterceptor implements NestInterceptor {
  constructor(
    @Inject(SessionEvents) private readonly events: SessionEvents,
    @Inject(SessionHost) private readonly host: SessionHost,
  ) {}

  intercept(
    context: ExecutionContext,
    next: CallHandler,
  ): Observable<unknown> | Promise<Observable<unknown>> {
    const corridor = corridorIn(context, this.host);
    if (!corridor) return next.handle();
    const rethrow = (error: unknown): never => {
      if (error instanceof SessionStoreUnavailableError) corridor.main.unavailable = true;
      corridor.challenge = challengeOf(error);
      throw toException(error, context);
    };
    if (corridor instanceof DetachedCorridor) {
      const handled = handleMessage(context, corridor, next);
      const bind = (emitted: Observable<unknown>) => this.#bound(context, corridor, emitted);
      return handled.then((emitted) => bind(emitted).pipe(catchError(rethrow)), rethrow);
    }
    const before = this.#prepare(context, corridor);
    const handle = () =>
      this.#bound(context, corridor, this.#handle(context, corridor, next)).pipe(
        catchError(rethrow),
      );
    return before ? before.then(handle, rethrow) : handle();
  }

  /** A subscription of GraphQL must not outlive its session. */
  #bound(
    context: ExecutionContext,
    corridor: SessionCorridor,
    emitted: Observable<unknown>,
  ): Observable<unknown> {
    if (!this.events.on || !isSubscription(context)) return emitted;
    const lane = corridor.lane(traitsOf(context).name);
    return emitted.pipe(
      map((value) => {
        const { record } = lane.state ?? {};
        if (!record || !isAsyncIterable(value)) return value;
        return new SessionBoundIterator(value, (onEnd) =>
          followLane(this.events, corridor, lane, onEnd),
        );
      }),
    );
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
    const { stream: isStream, name } = traitsOf(context);
    if (!isStream) return next.handle();
    const stream = this.#untilEnd(corridor.lane(name).state, next.handle());
    if (handler.constructor.name !== 'AsyncFunction') return stream;
    const emitted = new ReplaySubject<void>(1);
    corridor.handling = firstValueFrom(emitted, { defaultValue: undefined });
    return stream.pipe(
      tap(() => emitted.next()),
      finalize(() => emitted.complete()),
    );
  }

  /** What stays open must not outlive its session. */
  #untilEnd(state: SessionState | undefined, stream: Observable<unknown>): Observable<unknown> {
    if (!this.events.on || !state?.record) return stream;
    const { storedHandle: handle, identity } = state;
    const ended = this.events.ended({ handle, principal: identity?.principal });
    return stream.pipe(takeUntil(merge(ended, this.events.leaving$)));
  }

  /** The session was read before it was known how it is to be read, and whether the request counts. */
  async #makeUp({ session, state }: SessionCorridor, strong: boolean, uses: boolean) {
    if (strong) await session.confirm();
    // And takes a new id along if one is due.
    if (uses && state?.passive) await session.use();
  }

  /** What has to be waited for before the handler; usually nothing. */
  #prepare(context: ExecutionContext, corridor: SessionCorridor): Promise<unknown> | undefined {
    const { passive, skip, onStoreFailure, consistency, name, stream } = traitsOf(context);
    if (skip) {
      corridor.skipped = true;
      return undefined;
    }
    // For whoever loads the session in the handler, by `SessionService`.
    if (onStoreFailure) {
      LiveSession.stateOf(corridor.lane(name).session).onStoreFailure = onStoreFailure;
    }
    if (consistency && !corridor.state?.loading) {
      LiveSession.stateOf(corridor.lane(name).session).copies.consistency = consistency;
    }
    const { state } = corridor;
    const isStrong = consistency === 'strong' && state?.copies.served === true;
    if (state?.loaded && (isStrong || (state.passive && !passive))) {
      return this.#makeUp(corridor, isStrong, !passive);
    }
    const isNeeded = readsNestsOwnSession(context) || (stream && this.events.on);
    return isNeeded ? sessionOf(context) : undefined;
  }
}

/** Only what the root of an operation emits stays open. */
function isSubscription(context: ExecutionContext): boolean {
  if (context.getType<string>() !== 'graphql') return false;
  const info = context.getArgByIndex<{ operation?: { operation?: string } } | undefined>(3);
  return info?.operation?.operation === 'subscription';
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
