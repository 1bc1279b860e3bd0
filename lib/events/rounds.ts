import { setTimeout as delay } from 'node:timers/promises';

/** Does something again and again, one round after the other, until it is stopped. */
export class Rounds {
  #stopping: AbortController | undefined;
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #isAwaited = false;

  constructor(
    private readonly every: number,
    private readonly round: (signal: AbortSignal) => Promise<void>,
    private readonly onFailure: (error: unknown) => void,
  ) {}

  start(): void {
    this.#stopping ??= new AbortController();
    this.#running ??= this.#run(this.#stopping.signal);
  }

  /** The next round begins now, or as soon as this one is done. */
  hurry(): void {
    this.#isAwaited = true;
    this.#wake?.();
  }

  /** Resolves when the round that is under way has ended. */
  async stop(): Promise<void> {
    this.#stopping?.abort();
    this.#wake?.();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#isAwaited = false;
      await this.round(signal).catch(this.onFailure);
      if (signal.aborted) return;
      if (!this.#isAwaited) await this.#pause();
    }
  }

  async #pause(): Promise<void> {
    const early = new AbortController();
    this.#wake = () => early.abort();
    await delay(this.every, undefined, { ref: false, signal: early.signal }).catch(() => undefined);
    this.#wake = undefined;
  }
}
