import type { ExecutionContext } from '@nestjs/common';
import type { IncomingMessage } from 'node:http';
import {
  ReferredCorridor,
  OperationCorridor,
  type DetachedCorridor,
} from '../http/detached-corridor.js';
import { corridorOf, currentCorridor, type SessionCorridor } from '../http/session-corridor.js';
import type { SessionHost } from '../http/session-host.js';
import { sessionReferenceOf } from './session-reference-of.js';

/** By what is the same for all that Nest calls for a message, and for no other. */
const corridors = new WeakMap<object, DetachedCorridor>();

/** What drivers of GraphQL put into the context of an operation. */
interface OperationContext {
  readonly req?: unknown;
  readonly request?: unknown;
  readonly reply?: { readonly request?: unknown };
  /** Of graphql-ws. */
  readonly extra?: { readonly request?: unknown };
  readonly connectionParams?: unknown;
}

/**
 * The corridor of a GraphQL operation: that of its request, or one of its own if it came over a socket.
 *
 * @param host makes it if nobody has yet
 */
export function corridorOfOperation(
  context: ExecutionContext,
  host?: SessionHost,
): SessionCorridor | undefined {
  const key: unknown = context.getArgByIndex(2);
  if (!isObject(key)) return currentCorridor();
  const { request, parameters } = requestIn(key);
  if (!request) return currentCorridor();
  const raw = rawOf(request);
  if (raw.upgrade !== true) return corridorOf(request) ?? currentCorridor();
  return known(key, host && (() => new OperationCorridor(host, host.greet(raw), parameters)));
}

/**
 * The corridor of a message that another service has sent.
 *
 * @param host makes it if nobody has yet
 */
export function corridorOfCall(
  context: ExecutionContext,
  host?: SessionHost,
): SessionCorridor | undefined {
  const [payload, rpc] = context.getArgs<[unknown, unknown]>();
  const key = isObject(rpc) ? rpc : payload;
  if (!isObject(key)) return undefined;
  return known(key, host && (() => new ReferredCorridor(host, sessionReferenceOf(context))));
}

function known(key: object, make?: () => DetachedCorridor): DetachedCorridor | undefined {
  let corridor = corridors.get(key);
  if (!corridor && make) corridors.set(key, (corridor = make()));
  return corridor;
}

/** Wherever the driver has put it: Apollo, Mercurius, graphql-ws. */
function requestIn(context: OperationContext): { request?: object; parameters?: unknown } {
  const { req, request, reply, extra } = context;
  const found = [req, request, reply?.request, extra?.request].find(isObject) as
    (object & OperationContext) | undefined;
  // Where an application says nothing, Nest takes the whole connection of graphql-ws for the request.
  const inside = found?.extra?.request;
  if (isObject(inside)) return { request: inside, parameters: found?.connectionParams };
  return { request: found, parameters: context.connectionParams };
}

const rawOf = (request: object): IncomingMessage & { readonly upgrade?: boolean } =>
  (request as { readonly raw?: IncomingMessage }).raw ?? (request as IncomingMessage);

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;
