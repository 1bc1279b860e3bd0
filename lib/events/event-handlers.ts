import { Logger } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { SessionOptionsError } from '../core/session.errors.js';
import type { SessionEvent } from '../core/session.events.js';
import { ON_SESSION_EVENT } from '../session.constants.js';
import type { Listening } from './event.decorators.js';

/** A method that wants to be called. */
export interface EventHandler extends Listening {
  /** For people. */
  readonly name: string;
  readonly call: (event: SessionEvent) => unknown;
}

type Wrapper = ReturnType<DiscoveryService['getProviders']>[number];

const logger = new Logger('SessionEvents');

/**
 * Methods with `@OnSessionEvent`, of all providers and controllers.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for those of which there is one instance for each request
 */
export function findEventHandlers(
  discovery: DiscoveryService,
  scanner: MetadataScanner,
): EventHandler[] {
  const wrappers = [...discovery.getProviders(), ...discovery.getControllers()];
  // What is provided under several tokens is called once.
  const byInstance = new Map(wrappers.map((wrapper) => [wrapper.instance as unknown, wrapper]));
  const found = [...byInstance].map(([instance, wrapper]) => ({
    handlers: handlersOf(instance, scanner),
    wrapper,
  }));
  const hollow = found.flatMap(({ handlers, wrapper }) => (isHollow(wrapper) ? handlers : []));
  if (hollow.length > 0) {
    const names = new Set(hollow.map(({ name }) => name));
    throw new SessionOptionsError(
      [...names].map(
        (name) =>
          `${name} has @OnSessionEvent, and events come without a request that its instance would be made for: make the class, and what is injected into it, a singleton (Scope.DEFAULT)`,
      ),
    );
  }
  return found.flatMap(({ handlers }) => handlers);
}

function handlersOf(instance: unknown, scanner: MetadataScanner): EventHandler[] {
  const prototype = instance && typeof instance === 'object' && Object.getPrototypeOf(instance);
  if (!prototype) return [];
  return scanner.getAllMethodNames(prototype as object).flatMap((method) => {
    const target = instance as Record<string, (event: SessionEvent) => unknown>;
    const all = listeningOf(prototype as object, method);
    const name = `${(instance as object).constructor.name}.${method}`;
    return all.map((one) => ({ ...one, name, call: (event) => target[method]?.(event) }));
  });
}

/** Nest keeps only a prototype of what is made for each request, or for each class that it is injected into. */
const isHollow = (wrapper: Wrapper): boolean =>
  wrapper.isTransient || !wrapper.isDependencyTreeStatic();

function listeningOf(prototype: object, method: string): Listening[] {
  const { value } = Object.getOwnPropertyDescriptor(prototype, method) ?? {};
  if (typeof value !== 'function') {
    const parent = Object.getPrototypeOf(prototype) as object | null;
    return parent && parent !== Object.prototype ? listeningOf(parent, method) : [];
  }
  return (Reflect.getMetadata(ON_SESSION_EVENT, value) ?? []) as Listening[];
}

/**
 * Calls a handler; a failure is its own.
 *
 * @param limit milliseconds after which nobody waits for it any longer, and it counts as failed
 */
export async function callHandler(
  handler: EventHandler,
  event: SessionEvent,
  limit?: number,
): Promise<boolean> {
  try {
    const called = Promise.resolve(handler.call(event));
    await (limit === undefined ? called : withinLimit(called, limit));
    return true;
  } catch (error) {
    logger.error(
      `${handler.name} failed on ${event.type} (event ${event.id})`,
      (error as Error | undefined)?.stack,
    );
    return false;
  }
}

/** A plain timer: there is one for each call. */
const withinLimit = (called: Promise<unknown>, limit: number): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const isLate = () => reject(new Error(`it was not done within ${limit} ms`));
    const late = setTimeout(isLate, limit).unref();
    void called.then(resolve, reject).finally(() => clearTimeout(late));
  });
