import { BUCKETS } from '../core/session-id.js';
import type { ExpiryFigures } from '../core/session-observer.interface.js';
import { SessionStoreUnavailableError } from '../core/session.errors.js';
import { FailedBuckets } from './failed-buckets.js';
import { HeldLease } from './held-lease.js';
import { PrincipalCensus } from './principal-census.js';
import { Rounds } from './rounds.js';
import type { EventSource } from './event-source.js';

/** Buckets that are swept at the same time. */
const WIDTH = 5;

/** How often it is looked for sessions that have ended by time, and whom to tell of trouble. */
export interface ExpirySweeperOptions {
  /** Milliseconds between two rounds. */
  readonly every: number;
  /** Principals are counted, once a minute; somebody is told of figures. @default false */
  readonly counts?: boolean;
  readonly onTrouble: (error: unknown) => void;
}

/**
 * Tells of sessions that ended by time. One node does so at a time; but each session is told of exactly
 * once, whoever asks, since finding and telling is one step.
 */
export class ExpirySweeper {
  readonly #lease: HeldLease;
  readonly #rounds: Rounds;
  readonly #failed = new FailedBuckets();
  readonly #onTrouble: (error: unknown) => void;
  readonly #census: PrincipalCensus | undefined;
  /** Of the last round; `undefined` while another node does them. */
  figures: ExpiryFigures | undefined;
  #seen = { sessions: 0, lag: 0 };

  constructor(
    private readonly source: EventSource,
    { every, counts = false, onTrouble }: ExpirySweeperOptions,
  ) {
    this.#census = counts ? new PrincipalCensus(source) : undefined;
    this.#lease = new HeldLease(source.store, 'sweeper');
    this.#onTrouble = quiet(onTrouble);
    this.#rounds = new Rounds(every, (signal) => this.#round(signal), this.#onTrouble);
  }

  start(): void {
    this.#rounds.start();
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
    await this.#lease.giveBack();
  }

  async #round(signal: AbortSignal): Promise<void> {
    if (!(await this.#lease.isHeld())) {
      this.figures = undefined;
      this.#census?.forget();
      return;
    }
    this.#census?.begin();
    this.#seen = { sessions: 0, lag: 0 };
    await this.#sweepAll(
      BUCKETS.filter((bucket) => !this.#failed.has(bucket)),
      signal,
    );
    await this.#tryAgain(signal);
    this.figures = { ...this.#seen, principals: this.#census?.principals };
  }

  /** Those that failed, until some fail again. */
  async #tryAgain(signal: AbortSignal): Promise<void> {
    for (let some; (some = this.#failed.few()).length > 0 && !signal.aborted;) {
      await this.#sweepAll(some, signal);
      if (some.every((bucket) => this.#failed.has(bucket))) return;
    }
  }

  /** One that cannot be read keeps no other from being swept. */
  async #sweepAll(buckets: readonly string[], signal: AbortSignal): Promise<void> {
    const left = buckets.values();
    const lane = async (): Promise<void> => {
      for (const bucket of left) {
        if (signal.aborted) return;
        await this.#sweep(bucket, signal).then(
          () => this.#failed.delete(bucket),
          (error: unknown) => {
            this.#failed.add(bucket);
            this.#onTrouble(error);
          },
        );
      }
    };
    await Promise.all(Array.from({ length: WIDTH }, lane));
  }

  /** In small steps: the store answers others in between, and the lease is kept. */
  async #sweep(bucket: string, signal: AbortSignal): Promise<void> {
    const { store, news } = this.source;
    for (let more = true; more && !signal.aborted;) {
      const message = news.message(['expired']);
      const { lag = 0, waiting = 0, ...swept } = await store.sweep(bucket, message);
      more = swept.more;
      this.#seen.lag = Math.max(this.#seen.lag, lag);
      if (!more) this.#seen.sessions += waiting;
      if (more && !(await this.#lease.isHeld())) return;
    }
    // What is over is no more among those that are counted. That it fails is no reason to sweep less.
    if (!signal.aborted) await this.#census?.count(bucket).catch(this.#onTrouble);
  }
}

/** While the store does not answer there is nothing to say that is not said already. */
export const quiet =
  (onTrouble: (error: unknown) => void) =>
  (error: unknown): void => {
    if (!(error instanceof SessionStoreUnavailableError)) onTrouble(error);
  };
