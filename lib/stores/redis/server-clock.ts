import { SessionStoreUnavailableError } from '../../core/session.errors.js';

/** Who can be asked for the time: a server, or the masters of a Cluster. */
export interface TimeKeepers {
  /** Of each: seconds, and microseconds. */
  time(): Promise<readonly (readonly (string | number)[])[]>;
  /** Told what was learned, in milliseconds since the epoch. */
  readonly onTime?: ((now: number) => void) | undefined;
}

/** Milliseconds after which the difference between two clocks is measured anew. */
const GOOD_FOR = 60_000;
/** And after a server that did not answer. */
const SOON = 1_000;
/** The server is asked so often at most, and once if the answer came within so many milliseconds. */
const MEASUREMENTS = 4;
const QUICK = 10;

/**
 * What time it is at the server, in milliseconds since the epoch: so a write can say until when it is
 * wanted. The difference is taken to a clock that nobody sets, so wrong clocks of nodes do no harm.
 */
export class ServerClock {
  #ahead: number | undefined;
  #learnedAt = -Infinity;
  #learning: Promise<void> | undefined;
  #isRefused = false;

  constructor(private readonly servers: TimeKeepers) {}

  /**
   * A moment of this process (`performance.now()`) by the server's clock, earlier by what the way back
   * takes: who does something until then can still be heard in time. Empty while it is not known.
   */
  at(moment: number): number | '' {
    if (performance.now() - this.#learnedAt > GOOD_FOR) void this.learn();
    return this.#ahead === undefined ? '' : Math.floor(this.#ahead + moment);
  }

  /** Nobody has answered so far. */
  get isUnknown(): boolean {
    return this.#ahead === undefined && !this.#isRefused;
  }

  /** Measures the difference. A server that does not tell the time is not told of moments. */
  learn(): Promise<void> {
    return (this.#learning ??= this.#learn().finally(() => {
      this.#learning = undefined;
    }));
  }

  async #learn(): Promise<void> {
    try {
      this.#ahead = await this.#measured();
      this.#learnedAt = performance.now();
      if (this.#ahead !== undefined) this.servers.onTime?.(this.#ahead + this.#learnedAt);
    } catch (error) {
      this.#isRefused = error instanceof SessionStoreUnavailableError && error.answered;
      if (this.#isRefused) this.#ahead = undefined;
      // What is known stays true while nobody answers.
      this.#learnedAt = performance.now() - (this.#isRefused ? 0 : GOOD_FOR - SOON);
    }
  }

  /** It is wrong by what the way back took: so the quickest of some answers counts. */
  async #measured(): Promise<number | undefined> {
    let ahead: number | undefined;
    let quickest = Infinity;
    for (let i = 0; i < MEASUREMENTS && quickest > QUICK; i++) {
      const asked = performance.now();
      const times = await this.servers.time();
      const told = performance.now();
      if (told - asked >= quickest || times.length === 0) continue;
      quickest = told - asked;
      ahead = Math.max(...times.map(([s, us]) => Number(s) * 1_000 + Number(us) / 1_000)) - told;
    }
    return ahead;
  }
}
