import type { ExecutionContext } from '@nestjs/common';
import { LiveSession } from '../core/live-session.js';
import type { Session } from '../core/session.js';
import { SessionUnavailableError } from '../core/session.errors.js';
import { corridorOf, currentCorridor, type SessionCorridor } from '../http/session-corridor.js';
import { ALLOW_ANONYMOUS, PASSIVE_SESSION, SKIP_SESSION } from '../session.constants.js';

/** What decorators say about a route; a handler's word wins over its class's. */
export interface RouteTraits {
  readonly allowAnonymous: boolean;
  readonly passive: boolean;
  readonly skip: boolean;
}

const known = new WeakMap<object, WeakMap<object, RouteTraits>>();

/** The traits of the route that a context stands for; read once. */
export function traitsOf(context: ExecutionContext): RouteTraits {
  const handler = context.getHandler();
  const controller = context.getClass();
  let ofHandler = known.get(handler);
  if (!ofHandler) known.set(handler, (ofHandler = new WeakMap()));
  let traits = ofHandler.get(controller);
  if (!traits) {
    const has = (key: string): boolean =>
      Reflect.getMetadata(key, handler) ?? Reflect.getMetadata(key, controller) ?? false;
    traits = {
      allowAnonymous: has(ALLOW_ANONYMOUS),
      passive: has(PASSIVE_SESSION),
      skip: has(SKIP_SESSION),
    };
    ofHandler.set(controller, traits);
  }
  return traits;
}

/** The corridor of the request that a context stands for; `undefined` where the request has none. */
export function corridorIn(context: ExecutionContext): SessionCorridor | undefined {
  if (context.getType() !== 'http') return currentCorridor();
  return corridorOf(context.switchToHttp().getRequest<object>());
}

/**
 * The session that a context belongs to, loaded. Whoever asks first decides by the route's traits
 * whether the request counts as activity; all share one load.
 *
 * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) where there is no session
 */
export async function sessionOf(context: ExecutionContext): Promise<Session> {
  const corridor = corridorIn(context);
  const traits = traitsOf(context);
  if (!corridor || traits.skip) {
    throw new SessionUnavailableError(
      'This route has no session: check @SkipSession(), and `forRoutes` and `exclude` of SessionModule.',
    );
  }
  const { session } = corridor;
  const state = LiveSession.stateOf(session);
  if (!state.loaded) {
    state.passive = traits.passive;
    await session.load();
  }
  return session;
}
