import { toMilliseconds, type Duration } from '../core/duration.js';
import type { IndexedSession } from '../core/session-draft.js';
import type { EventProjection } from '../core/session-news.js';
import { boolean, Check, duration } from './option-check.js';

/** What is told of sessions, and for how long that is remembered. */
export interface SessionEventsOptions {
  /** Changes of contents, grants and labels are told, too: one event for each save. @default false */
  modified?: boolean;
  /**
   * Which attributes events tell of a session; they are kept beside it, for when it ends by time. The
   * function must only compute.
   *
   * @default none: events tell no data
   * @example (session) => ({ cart: session.data.cart })
   */
  projection?: (session: IndexedSession) => Readonly<Record<string, unknown>> | undefined;
  /**
   * For how long it is remembered what was told: streams that were cut go on, nodes that heard nothing
   * catch up, handlers of `once: 'cluster'` go on after a crash. About 400 bytes in Redis for each login.
   *
   * @default '10m'
   */
  retention?: Duration;
  /** How often one node looks for sessions that have ended by time: 256 short scripts. @default '5s' */
  sweepEvery?: Duration;
  /** Applications that share a store and have different handlers of `once: 'cluster'` have different groups. @default 'default' */
  group?: string;
}

/** The same, as it was decided at boot. */
export interface ResolvedEventsOptions {
  readonly modified: boolean;
  readonly projection: EventProjection | undefined;
  readonly retention: number;
  readonly sweepEvery: number;
  readonly group: string;
}

export class EventsRules {
  @Check(...boolean)
  modified?: unknown;

  @Check('use a function (session) => object', (v) => typeof v === 'function')
  projection?: unknown;

  @Check(...duration(1_000, '10m'))
  retention?: unknown;

  @Check(...duration(50, '5s'))
  sweepEvery?: unknown;

  @Check(
    "use 1 to 64 letters, digits, '_' and '-'",
    (v) => typeof v === 'string' && /^[\w-]{1,64}$/.test(v),
  )
  group?: unknown;
}

/** `undefined`: nothing is told. */
export function completeEvents(
  given: boolean | SessionEventsOptions | undefined,
): ResolvedEventsOptions | undefined {
  if (!given) return undefined;
  const options = given === true ? {} : given;
  const { modified = false, projection, group = 'default' } = options;
  return Object.freeze({
    modified,
    projection,
    retention: toMilliseconds(options.retention ?? '10m') as number,
    sweepEvery: toMilliseconds(options.sweepEvery ?? '5s') as number,
    group,
  });
}
