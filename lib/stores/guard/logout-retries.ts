import { setTimeout as delay } from 'node:timers/promises';
import { ExponentialBackoff, handleWhen, retry } from 'cockatiel';
import type { Tally } from '../../core/outage-counters.js';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';

/** Logouts that are tried again at the same time; the sessions of more end by time. */
const AT_ONCE = 1_000;
/** Milliseconds until the first time, and then about as long again, twice as long … */
const FIRST = 200;

/** How to go on with logouts that failed. */
export interface LogoutRetriesOptions {
  /** For how long, in milliseconds. */
  readonly within: number;
  readonly tally: Tally;
  /** Told of several at once, lest an outage floods the log. */
  readonly onGivenUp: (handles: readonly string[]) => void;
}

/** Ends in the background what could not be ended while somebody waited for it. */
export class LogoutRetries {
  readonly #pending = new Set<string>();
  readonly #givenUp: string[] = [];
  #telling: NodeJS.Timeout | undefined;
  #isClosed = false;
  readonly #policy = retry(
    handleWhen((error) => error instanceof SessionStoreUnavailableError),
    {
      maxAttempts: Infinity,
      backoff: new ExponentialBackoff({ initialDelay: FIRST, maxDelay: 2_000 }),
    },
  ).dangerouslyUnref();

  constructor(private readonly options: LogoutRetriesOptions) {}

  /** Tries `end` again until it succeeds, or its time is over. */
  add(handle: string, end: () => Promise<unknown>): void {
    const { within, tally } = this.options;
    if (this.#pending.has(handle)) return;
    if (within === 0 || this.#isClosed || this.#pending.size >= AT_ONCE)
      return this.#giveUp(handle);
    this.#pending.add(handle);
    tally.logoutsPending = this.#pending.size;
    void this.#retry(handle, end, performance.now() + within);
  }

  /** Gives up what is left: the application ends. */
  close(): void {
    this.#isClosed = true;
    for (const handle of this.#pending) {
      this.#done(handle);
      this.#giveUp(handle);
    }
    this.#tell();
  }

  async #retry(handle: string, end: () => Promise<unknown>, until: number): Promise<void> {
    const attempt = async () => {
      if (performance.now() > until || !this.#pending.has(handle)) throw new Error('too late');
      await end();
    };
    await delay(FIRST, undefined, { ref: false });
    const isEnded = await this.#policy.execute(attempt).then(
      () => true,
      () => false,
    );
    if (!this.#done(handle)) return;
    if (isEnded) this.options.tally.logoutsConfirmedLate++;
    else this.#giveUp(handle);
  }

  /** `false` if it was given up already. */
  #done(handle: string): boolean {
    const wasPending = this.#pending.delete(handle);
    this.options.tally.logoutsPending = this.#pending.size;
    return wasPending;
  }

  #giveUp(handle: string): void {
    this.options.tally.logoutsGivenUp++;
    this.#givenUp.push(handle);
    if (this.#givenUp.length === 1) this.#telling = setTimeout(() => this.#tell(), 1_000).unref();
  }

  #tell(): void {
    clearTimeout(this.#telling);
    const handles = this.#givenUp.splice(0);
    if (handles.length > 0) this.options.onGivenUp(handles);
  }
}
