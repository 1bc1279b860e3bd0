import {
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  handleWhen,
  type CircuitBreakerPolicy,
} from 'cockatiel';
import { newTally } from '../../core/outage-counters.js';
import {
  SessionStoreUnavailableError,
  SessionUnconfirmedError,
} from '../../core/session.errors.js';
import type { IndexedSessionStore, SessionStore } from '../../core/session-store.interface.js';
import { LogoutRetries } from './logout-retries.js';

/** Milliseconds that a call may wait in vain before that counts. */
const PATIENCE = 100;
/** Calls in a row that waited in vain, after which no more are made. */
const FAILURES = 5;
/** Milliseconds until one call tries whether the store answers again. */
const PAUSE = 200;
/** A breaker that is open for longer without another try goes by a wrong clock. */
const LONGEST = 2_000;

/** Verbs of requests and health checks. Operators' walks ask the store itself. */
const VERBS = [
  'load',
  'create',
  'save',
  'touch',
  'delete',
  'admit',
  'replace',
  'list',
  'countIn',
  'endIn',
  'settle',
  'ping',
] as const satisfies readonly (keyof IndexedSessionStore)[];

type Verb = (...args: unknown[]) => Promise<unknown>;

/** `'open'`: calls fail at once; `'half-open'`: so they do, but for one that finds out whether the store is back. */
export type BreakerState = 'closed' | 'open' | 'half-open';

/** How a guard works, and whom it tells. */
export interface StoreGuardOptions {
  /** For how long logouts that failed are tried again, in milliseconds. */
  readonly logoutRetry: number;
  readonly onTrouble: (message: string) => void;
  /** Trouble is over. */
  readonly onRelief: (message: string) => void;
}

/**
 * Stands in front of a backend that may fail. While it does not answer, calls fail at once instead of
 * making each request wait for its deadline; now and then one of them finds out whether it is back.
 * A backend that answers, and be it that it refuses, is not cut off: it may still do other things.
 */
export class StoreGuard {
  readonly tally = newTally();
  readonly retries: LogoutRetries;
  #breaker = this.#newBreaker();
  #isOpen = false;
  #openedAt = 0;

  constructor(private readonly options: StoreGuardOptions) {
    const { logoutRetry, onTrouble } = options;
    this.retries = new LogoutRetries({
      within: logoutRetry,
      tally: this.tally,
      onGivenUp: (handles) =>
        onTrouble(
          `Logouts could not be confirmed: sessions ${handles.join(', ')} end by time, if they still live.`,
        ),
    });
  }

  /** Whether calls fail at once. */
  get isCutOff(): boolean {
    return this.#isOpen;
  }

  /** The state of the circuit breaker. */
  get breaker(): BreakerState {
    if (!this.#isOpen) return 'closed';
    return this.#breaker.state === CircuitState.HalfOpen ? 'half-open' : 'open';
  }

  /** The same store behind this guard; stores of one backend share one. */
  before<Store extends SessionStore>(store: Store): Store {
    const unguarded = store as unknown as Record<string, Verb | undefined>;
    const guarded: Record<string, unknown> = { confirms: store.confirms };
    for (const name of ['count', 'placesOf', 'close']) {
      guarded[name] = unguarded[name]?.bind(store);
    }
    for (const name of VERBS) {
      const verb = unguarded[name]?.bind(store);
      if (verb) guarded[name] = (...args: unknown[]) => this.#call(verb, args);
    }
    return guarded as unknown as Store;
  }

  async #call(verb: Verb, args: unknown[]): Promise<unknown> {
    // It goes by a clock that may be set back, and would be open for as long.
    if (this.#isOpen && performance.now() - this.#openedAt > LONGEST) {
      this.#isOpen = false;
      this.#breaker = this.#newBreaker();
    }
    // Whoever comes while one call finds out would have to wait for it.
    if (this.#breaker.state === CircuitState.HalfOpen) throw cutOff();
    const outcome = await this.#breaker
      .execute(() => this.#listen(verb(...args)))
      .catch((error: unknown) => {
        throw error instanceof Silence ? this.#counted(error.error) : cutOff();
      });
    if ('value' in outcome) return outcome.value;
    throw this.#counted(outcome.error);
  }

  /** What fails at once makes nobody wait; but it is no answer either. An error may well be one. */
  async #listen(reply: Promise<unknown>): Promise<Outcome> {
    const asked = performance.now();
    try {
      return { value: await reply };
    } catch (error) {
      const isAnswer = !(error instanceof SessionStoreUnavailableError) || error.answered;
      const atOnce = performance.now() - asked < PATIENCE;
      if (isAnswer || (atOnce && !this.#isOpen)) return { error };
      throw new Silence(error);
    }
  }

  #counted(error: unknown): unknown {
    if (error instanceof SessionUnconfirmedError) this.tally.unconfirmed++;
    else if (error instanceof SessionStoreUnavailableError) this.tally.storeFailures++;
    return error;
  }

  #newBreaker(): CircuitBreakerPolicy {
    const breaker = circuitBreaker(
      handleWhen((error) => error instanceof Silence),
      { halfOpenAfter: PAUSE, breaker: new ConsecutiveBreaker(FAILURES) },
    );
    // It breaks anew with each call that finds the store still silent.
    breaker.onBreak(() => {
      this.#openedAt = performance.now();
      if (this.#isOpen) return;
      this.#isOpen = true;
      this.tally.breakerOpened++;
      this.options.onTrouble(
        'The session store does not answer: until it does, requests are not sent to it.',
      );
    });
    breaker.onReset(() => {
      this.#isOpen = false;
      this.options.onRelief('The session store answers again.');
    });
    return breaker;
  }
}

/** What became of a call that was answered. */
type Outcome = { readonly value: unknown } | { readonly error: unknown };

/** A call that waited in vain. */
class Silence {
  constructor(readonly error: SessionStoreUnavailableError) {}
}

const cutOff = () => new SessionStoreUnavailableError('circuit open');
