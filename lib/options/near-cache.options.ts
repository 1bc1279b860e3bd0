import { toMilliseconds, toText, type Duration } from '../core/duration.js';
import { Check, duration, isCount } from './option-check.js';

/** How many sessions a node keeps copies of, and for how long. */
export interface SessionNearCacheOptions {
  /** Sessions at most. @default 10000 */
  maxEntries?: number;
  /** Bytes of memory at most, as estimated: twice the stored text, and 600 for each. @default 67108864 (64 MiB) */
  maxBytes?: number;
  /**
   * How old a copy may be, even if nothing is heard of a change: a bound for faults that nobody notices. Each
   * session in use costs one command on each node this often.
   *
   * @default '30s'
   */
  maxAge?: Duration;
  /**
   * As the option `touchAfter` beside this one, and before it: to move the idle window drops the copies of other
   * nodes, so where each node sees each user it pays to do that less often.
   *
   * @default that option's
   */
  touchAfter?: Duration;
}

/** The same, as it was decided at boot. */
export interface ResolvedNearCacheOptions {
  readonly maxEntries: number;
  readonly maxBytes: number;
  readonly maxAge: number;
}

export class NearCacheRules {
  @Check('use a whole number of at least 1', isCount)
  maxEntries?: unknown;

  @Check('use a whole number of at least 65536', (v) => isCount(v) && (v as number) >= 65_536)
  maxBytes?: unknown;

  @Check(...duration(1, '30s'))
  maxAge?: unknown;

  @Check(...duration(0, '60s'))
  touchAfter?: unknown;
}

/**
 * What is to be told at boot of sessions that are served stale; `undefined`: nothing.
 *
 * @param staleFor milliseconds after which what was read counts no more in an outage
 */
export function describeStaleGap(
  nearCache: ResolvedNearCacheOptions | undefined,
  staleFor: number | undefined,
): string | undefined {
  if (!nearCache || staleFor === undefined || staleFor > nearCache.maxAge) return undefined;
  return (
    `staleFor (${toText(staleFor)}) is not longer than maxAge of nearCache (${toText(nearCache.maxAge)}): what a copy serves is not read, ` +
    'so a session in use may be refused in an outage. Make staleFor longer, or maxAge shorter.'
  );
}

/** `undefined`: no copies are kept. */
export function completeNearCache(
  given: boolean | SessionNearCacheOptions | undefined,
): ResolvedNearCacheOptions | undefined {
  if (!given) return undefined;
  const {
    maxEntries = 10_000,
    maxBytes = 67_108_864,
    maxAge = '30s',
  } = given === true ? {} : given;
  return Object.freeze({ maxEntries, maxBytes, maxAge: toMilliseconds(maxAge) as number });
}
