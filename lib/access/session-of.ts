import type { ExecutionContext } from '@nestjs/common';
import { SSE_METADATA } from '@nestjs/common/constants.js';
import { LiveSession } from '../core/live-session.js';
import type { SessionConsistency } from '../core/consistency.js';
import type { SessionRequirement } from '../core/session-requirement.js';
import { SessionUnavailableError } from '../core/session.errors.js';
import type { StoreFailurePolicy } from '../core/store-failure.js';
import { DetachedCorridor } from '../http/detached-corridor.js';
import { corridorOf, currentCorridor, type SessionCorridor } from '../http/session-corridor.js';
import type { SessionHost } from '../http/session-host.js';
import { toGraphqlException, toHttpException } from '../http/session-http.exception.js';
import type { SessionLane } from '../http/session-lane.js';
import {
  ALLOW_ANONYMOUS,
  CONSISTENCY,
  ON_STORE_FAILURE,
  PASSIVE_SESSION,
  REQUIREMENTS,
  SESSION_NAME,
  SKIP_SESSION,
} from '../session.constants.js';
import { corridorOfCall, corridorOfOperation } from './message-context.js';

/** What decorators say about a route; a handler's word wins over its class's. */
export interface RouteTraits {
  readonly allowAnonymous: boolean;
  readonly passive: boolean;
  readonly skip: boolean;
  /** What becomes of it while the store does not answer; `undefined`: what the module says. */
  readonly onStoreFailure: StoreFailurePolicy | undefined;
  /** What it makes of copies on this node; `undefined`: its method and what it requires decide. */
  readonly consistency: SessionConsistency | undefined;
  /** Which sessions the route goes by; `undefined`: those of `forRoot`. */
  readonly name: string | undefined;
  /** Of class and handler together; a handler that lets everybody pass drops its class's. */
  readonly requirements: readonly SessionRequirement[];
  /** It stays open: `@Sse()`. */
  readonly stream: boolean;
  /** Something is asked for, and be it only that somebody is logged in. */
  readonly required: boolean;
}

interface KnownTraits {
  readonly controller: object;
  readonly traits: RouteTraits;
}

/** By handler; usually it is of one controller. */
const known = new WeakMap<object, KnownTraits[]>();

/** The traits of the route that a context stands for; read once. */
export function traitsOf(context: ExecutionContext): RouteTraits {
  const handler = context.getHandler();
  const controller = context.getClass();
  let all = known.get(handler);
  if (!all) known.set(handler, (all = []));
  for (const one of all) if (one.controller === controller) return one.traits;
  const traits = readTraits(handler, controller);
  all.push({ controller, traits });
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
    consistency: said<SessionConsistency>(CONSISTENCY),
    name: said<string>(SESSION_NAME),
    requirements,
    stream: Reflect.hasMetadata(SSE_METADATA, handler),
    required: asks || requirements.length > 0,
  };
}

/**
 * The corridor of the request or message that a context stands for; `undefined` where there is none.
 *
 * @param host makes one for a message that has none yet
 */
export function corridorIn(
  context: ExecutionContext,
  host?: SessionHost,
): SessionCorridor | undefined {
  switch (context.getType<string>()) {
    case 'http':
      // As `switchToHttp().getRequest()`, which makes three functions each time.
      return corridorOf(context.getArgByIndex<object>(0));
    case 'graphql':
      return corridorOfOperation(context, host);
    case 'rpc':
      return corridorOfCall(context, host);
    default:
      return currentCorridor();
  }
}

/**
 * The lane of the session that a context belongs to, or of the one that is named.
 *
 * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) where there is no session
 */
export function laneOf(
  context: ExecutionContext,
  name?: string,
  corridor = corridorIn(context),
): SessionLane {
  const traits = traitsOf(context);
  if (!corridor || traits.skip) {
    throw new SessionUnavailableError(
      context.getType() === 'rpc' && !traits.skip
        ? 'This message has no session: let SessionGuard stand before its handler, or connect the ' +
            'microservice by `app.connectMicroservice(options, { inheritAppConfig: true })`.'
        : 'This route has no session: check @SkipSession(), and `forRoutes` and `exclude` of SessionModule.',
    );
  }
  return corridor.lane(name ?? traits.name);
}

/**
 * The session that a context belongs to, or the one that is named, loaded. Whoever asks first decides by
 * the route's traits whether the request counts as activity; all share one load.
 *
 * @param strong whatever the route says: a copy on this node will not do
 * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) where there is no session
 */
export async function sessionOf(
  context: ExecutionContext,
  name?: string,
  strong = false,
): Promise<LiveSession> {
  const corridor = corridorIn(context);
  const lane = laneOf(context, name, corridor);
  if (corridor instanceof DetachedCorridor) await corridor.open(lane, traitsOf(context));
  const { session } = lane;
  const state = LiveSession.stateOf(session);
  const isStrong = strong || consistencyOf(context, lane) === 'strong';
  if (!state.loaded) {
    const { passive, onStoreFailure, consistency } = traitsOf(context);
    state.passive = passive;
    if (isStrong) state.copies.consistency = 'strong';
    // Whoever has asked first may have had a reason to be strict.
    else if (consistency && !state.loading) state.copies.consistency = consistency;
    if (onStoreFailure) state.onStoreFailure = onStoreFailure;
    await session.load();
  }
  // It may have been read before the route was known, or by another one of the same operation.
  if (isStrong) await session.confirm();
  if (state.device === 'unproven') lane.welcome(state);
  return session;
}

/** The same if nothing has to be waited for, which is so behind a guard; else `undefined`. */
export function sessionAtHand(context: ExecutionContext, name?: string): LiveSession | undefined {
  const corridor = corridorIn(context);
  if (!corridor || corridor instanceof DetachedCorridor) return undefined;
  const lane = laneOf(context, name, corridor);
  const { state } = lane;
  if (!state?.loaded || state.device === 'unproven') return undefined;
  if (state.copies.served && consistencyOf(context, lane) === 'strong') return undefined;
  return lane.session;
}

/**
 * What a route makes of copies on this node: what decides by roles, freshness or factors asks the store, unless it was told
 * otherwise. `undefined`: as its method says.
 */
export function consistencyOf(
  context: ExecutionContext,
  { parts }: SessionLane,
): SessionConsistency | undefined {
  const { consistency, requirements, required } = traitsOf(context);
  if (consistency) return consistency;
  return requirements.length > 0 || (required && parts.policy) ? 'strong' : undefined;
}

/**
 * What a handler changes in its session is saved after it. Guards come before that is known.
 *
 * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) where nobody would do it
 */
export function mustBeSaved(context: ExecutionContext): void {
  const corridor = corridorIn(context);
  if (!(corridor instanceof DetachedCorridor) || corridor.isHandled) return;
  throw new SessionUnavailableError(
    'Nobody would save what this handler changes in its session: connect the microservice by ' +
      '`app.connectMicroservice(options, { inheritAppConfig: true })`.',
  );
}

/** An error of ours as the context's clients are told of it; any other as it is. */
export function toException(error: unknown, context: ExecutionContext): unknown {
  switch (context.getType<string>()) {
    case 'graphql':
      return toGraphqlException(error);
    // The exception filter does it: what Nest takes for the error of a message is no exception of HTTP.
    case 'rpc':
      return error;
    default:
      return corridorIn(context)?.exceptionOf(error) ?? toHttpException(error);
  }
}
