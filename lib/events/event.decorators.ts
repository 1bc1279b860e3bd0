import { ON_SESSION_EVENT } from '../session.constants.js';
import { SESSION_EVENT_TYPES, type SessionEventType } from '../core/session.events.js';

/** How often a handler is called for an event. */
export interface OnSessionEventOptions {
  /**
   * `'node'`: once on each node that hears the event. `'cluster'`: on one node, at least once, also if that
   * node dies meanwhile; a handler that fails, or is not done within 60 seconds, is called again, up to
   * five times in all; meanwhile the next events of the same user wait, those of others do not. What
   * happened while no node was running is handled when one is, as far as it is remembered
   * (`events.retention`; ends by time without limit).
   *
   * @default 'node'
   */
  once?: 'cluster' | 'node';
}

/** What a method listens to. */
export interface Listening {
  readonly types: readonly SessionEventType[];
  readonly once: 'cluster' | 'node';
}

/**
 * Calls a method of a provider or controller with each event of a type, or of several.
 *
 * @throws TypeError for a type that there is not
 * @example
 * \@OnSessionEvent('expired', { once: 'cluster' })
 * async keepCart({ id, attributes }: SessionEvent) { await this.carts.remind(id, attributes.cart); }
 */
export function OnSessionEvent(
  type: SessionEventType | readonly SessionEventType[],
  { once = 'node' }: OnSessionEventOptions = {},
): MethodDecorator {
  const types = [type].flat() as SessionEventType[];
  const unknown = types.filter((one) => !SESSION_EVENT_TYPES.includes(one));
  if (unknown.length > 0) {
    throw new TypeError(
      `@OnSessionEvent: there is no event ${unknown.join(', ')}: use ${SESSION_EVENT_TYPES.join(', ')}`,
    );
  }
  if (once === 'cluster' && types.includes('rejected')) {
    throw new TypeError(
      `@OnSessionEvent('rejected') is told on the node that refused: leave out { once: 'cluster' }`,
    );
  }
  const listening: Listening = { types, once };
  return (_target, _key, descriptor) => {
    const method = descriptor.value as object;
    const before = (Reflect.getMetadata(ON_SESSION_EVENT, method) ?? []) as Listening[];
    Reflect.defineMetadata(ON_SESSION_EVENT, [...before, listening], method);
  };
}
