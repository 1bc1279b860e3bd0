import type { ExecutionContext } from '@nestjs/common';
import { LiveSession } from '../core/live-session.js';
import type { SessionRequirement } from '../core/session-requirement.js';
import { SessionUnavailableError } from '../core/session.errors.js';
import type { StoreFailurePolicy } from '../core/store-failure.js';
import { corridorOf, currentCorridor, type SessionCorridor } from '../http/session-corridor.js';
import type { SessionLane } from '../http/session-lane.js';
import {
  ALLOW_ANONYMOUS,
  ON_STORE_FAILURE,
  PASSIVE_SESSION,
  REQUIREMENTS,
  SESSION_NAME,
  SKIP_SESSION,
} from '../session.constants.js';

/** What decorators say about a route; a handler's word wins over its class's. */
export interface RouteTraits {
  readonly allowAnonymous: boolean;
  readonly passive: boolean;
  readonly skip: boolean;
  /** What becomes of it while the store does not answer; `undefined`: what the module says. */
  readonly onStoreFailure: StoreFailurePolicy | undefined;
  /** Which sessions the route goes by; `undefined`: those of `forRoot`. */
  readonly name: string | undefined;
  /** Of class and handler together; a handler that lets everybody pass drops its class's. */
  readonly requirements: readonly SessionRequirement[];
  /** Something is asked for, and be it only that somebody is logged in. */
  readonly required: boolean;
}

const known = new WeakMap<object, WeakMap<object, RouteTraits>>();

/** The traits of the route that a context stands for; read once. */
export function traitsOf(context: ExecutionContext): RouteTraits {
  const handler = context.getHandler();
  const controller = context.getClass();
  let ofHandler = known.get(handler);
  if (!ofHandler) known.set(handler, (ofHandler = new WeakMap()));
  let traits = ofHandler.get(controller);
  if (!traits) ofHandler.set(controller, (traits = readTraits(handler, controller)));
  return traits;
}

function readTraits(handler: object, controller: object): RouteTraits {
  const said = <T>(key: string): T | undefined =>
    Reflect.getMetadata(key, handler) ?? Reflect.getMetadata(key, controller);
  const allowed = Reflect.getMetadata(ALLOW_ANONYMOUS, handler) === true;
  const skips = Reflect.getMetadata(SKIP_SESSION, handler) === true;
  // To read no session is not to let everybody do what the class lets only some do.
  const requirements = (allowed ? [handler] : [controller, handler]).flatMap(
    (place) => (Reflect.getMetadata(REQUIREMENTS, place) ?? []) as SessionRequirement[],
  );
  const asks = (allowed || skips ? [handler] : [controller, handler]).some(
    (place) => Reflect.getMetadata(ALLOW_ANONYMOUS, place) === false,
  );
  return {
    // What requires something is not open, whatever else is said beside it.
    allowAnonymous: requirements.length === 0 && (said<boolean>(ALLOW_ANONYMOUS) ?? false),
    passive: said<boolean>(PASSIVE_SESSION) ?? false,
    skip: said<boolean>(SKIP_SESSION) ?? false,
    onStoreFailure: said<StoreFailurePolicy>(ON_STORE_FAILURE),
    name: said<string>(SESSION_NAME),
    requirements,
    required: asks || requirements.length > 0,
  };
}

/** The corridor of the request that a context stands for; `undefined` where the request has none. */
export function corridorIn(context: ExecutionContext): SessionCorridor | undefined {
  if (context.getType() !== 'http') return currentCorridor();
  return corridorOf(context.switchToHttp().getRequest<object>());
}

/**
 * The lane of the session that a context belongs to, or of the one that is named.
 *
 * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) where there is no session
 */
export function laneOf(context: ExecutionContext, name?: string): SessionLane {
  const corridor = corridorIn(context);
  const traits = traitsOf(context);
  if (!corridor || traits.skip) {
    throw new SessionUnavailableError(
      'This route has no session: check @SkipSession(), and `forRoutes` and `exclude` of SessionModule.',
    );
  }
  return corridor.lane(name ?? traits.name);
}

/**
 * The session that a context belongs to, or the one that is named, loaded. Whoever asks first decides by
 * the route's traits whether the request counts as activity; all share one load.
 *
 * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) where there is no session
 */
export async function sessionOf(context: ExecutionContext, name?: string): Promise<LiveSession> {
  const lane = laneOf(context, name);
  const { session } = lane;
  const state = LiveSession.stateOf(session);
  if (!state.loaded) {
    const { passive, onStoreFailure } = traitsOf(context);
    state.passive = passive;
    if (onStoreFailure) state.onStoreFailure = onStoreFailure;
    await session.load();
  }
  if (state.device === 'unproven') lane.welcome(state);
  return session;
}
