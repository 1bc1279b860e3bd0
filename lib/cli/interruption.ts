import { CliFailedError } from './cli-io.js';

/** Whether somebody has interrupted a command (SIGINT, SIGTERM). The second time the process ends at once. */
export class Interruption {
  readonly #controller = new AbortController();

  /** @param atOnce is called in that moment */
  constructor(private readonly atOnce: () => void) {
    process.once('SIGINT', this.interrupt).once('SIGTERM', this.interrupt);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  readonly interrupt = (): void => {
    this.close();
    this.atOnce();
    this.#controller.abort();
  };

  /** What a promise gives, unless it is interrupted before: then it is not waited for. */
  unless<T>(work: Promise<T>): Promise<T> {
    const { signal } = this;
    const interrupted = new Promise<never>((_, reject) => {
      if (signal.aborted) reject(signal.reason as Error);
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    return Promise.race([work, interrupted]);
  }

  /** Leaves signals to others. */
  close(): void {
    process.off('SIGINT', this.interrupt).off('SIGTERM', this.interrupt);
  }
}

/** @param then what becomes of what was begun */
export const interruptedError = (
  then = 'What was done by then is done; run it again for the rest.',
): CliFailedError => new CliFailedError('CLI_INTERRUPTED', `Interrupted. ${then}`);
