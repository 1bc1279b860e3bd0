import type { Clock } from '../core/clock.js';
import { toMilliseconds, type Duration } from '../core/duration.js';

/**
 * A clock that stands still until a test moves it: give it as the option `clock`, and timeouts pass
 * without waiting.
 *
 * @example
 * const clock = new FakeClock();
 * clock.advance('30m');
 */
export class FakeClock implements Clock {
  #now: number;

  /** @param start milliseconds since the epoch. @default an arbitrary fixed instant */
  constructor(start: number = Date.UTC(2030, 0, 1)) {
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  /** Moves the clock on; a negative number of milliseconds moves it back. */
  advance(by: Duration): void {
    const milliseconds = toMilliseconds(by);
    if (milliseconds === undefined) {
      throw new TypeError(`advance(${String(by)}): use a duration such as '30m', or milliseconds`);
    }
    this.#now += milliseconds;
  }
}
