import {
  SessionStoreUnavailableError,
  SessionUnconfirmedError,
} from '../../core/session.errors.js';

/** Calls in a row without an answer, after which no more are made. */
const FAILURES = 3;
/** Milliseconds between two attempts to find out whether it answers again. */
const PAUSE = 200;
/** Milliseconds that an attempt may take: a backend that never says anything is asked again. */
const PATIENCE = 2_000;

/** What a tier is, and whom it tells. */
export interface TierOptions {
  /** In messages. */
  readonly name: string;
  readonly ping: () => Promise<void>;
  readonly onTrouble: (message: string) => void;
  readonly onRelief?: (() => void) | undefined;
}

/**
 * One of two backends. While it does not answer, calls fail at once: the other one is not kept waiting by it. What it
 * fails with says that the store itself has answered, so that nobody cuts off both for the sake of one.
 */
export class Tier<Backend> {
  #failures = 0;
  #probing: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(
    private readonly backend: Backend,
    private readonly options: TierOptions,
  ) {}

  get isDown(): boolean {
    return this.#probing !== undefined;
  }

  /** @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) if it is known not to answer */
  check(): void {
    if (this.isDown) throw this.#unavailable('does not answer');
  }

  async ask<T>(question: (backend: Backend) => Promise<T>): Promise<T> {
    this.check();
    try {
      const answer = await question(this.backend);
      this.#failures = 0;
      return answer;
    } catch (error) {
      if (!(error instanceof SessionStoreUnavailableError)) throw error;
      if (!error.answered && ++this.#failures >= FAILURES) this.#goDown();
      throw error instanceof SessionUnconfirmedError ? error : this.#unavailable(error.reason);
    }
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#probing);
  }

  #goDown(): void {
    if (this.isDown || this.#isClosed) return;
    const { name, onTrouble } = this.options;
    onTrouble(`${name} does not answer: until it does, nothing is sent there.`);
    this.#probe();
  }

  #probe(): void {
    this.#probing = setTimeout(() => {
      const back = () => {
        this.#failures = 0;
        this.#probing = undefined;
        this.options.onRelief?.();
      };
      this.#pinged().then(back, () => this.#isClosed || this.#probe());
    }, PAUSE).unref();
  }

  async #pinged(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.#unavailable('timeout')), PATIENCE).unref();
    });
    try {
      await Promise.race([this.options.ping(), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #unavailable(reason: string): SessionStoreUnavailableError {
    return new SessionStoreUnavailableError(`${this.options.name}: ${reason}`, undefined, true);
  }
}
